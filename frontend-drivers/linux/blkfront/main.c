// SPDX-License-Identifier: GPL-2.0-only
/*
 * domus-blkfront - disks of a Xen or Domus guest.
 *
 * This file is the disk on the bus: how it appears, how it goes on with a new backend, and how it
 * goes. What is common to all devices is in common.h; all here is called from there, with the
 * mutex.
 */
#include <linux/module.h>

#include "blkfront.h"

static unsigned int max_queues;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of a disk at most (0: one for each CPU)");

static void last_put(struct kref *ref)
{
	kfree(container_of(ref, struct dblk, ref));
}

void dblk_put(struct dblk *dev)
{
	kref_put(&dev->ref, last_put);
}

static int connected(struct domus_front *front)
{
	struct dblk *dev = to_dblk(front);
	int err;

	err = dblk_read_features(dev);
	if (err)
		return err;
	dblk_hide_rings(dev);
	xenbus_switch_state(front->xb, XenbusStateConnected);
	if (dev->disk) {
		dblk_apply_limits(dev);
		dblk_read_size(front);
		dblk_run(dev);
		dev_info(&front->xb->dev, "%s goes on\n", dev->disk->disk_name);
		return 0;
	}
	err = dblk_create_disk(dev);
	if (err)
		return err;
	dev_info(&front->xb->dev, "%s: %u queue(s) of %u, up to %u pages a request%s%s%s\n",
		 dev->disk->disk_name, front->nr_queues, dblk_ring_size(dev), dev->max_segments,
		 dev->persistent ? ", persistent grants" : "",
		 dev->flush || dev->barrier ? ", flush" : "", dev->discard ? ", discard" : "");
	return 0;
}

/* Only when nobody has the disk open: a user's data is worth more than the tool's patience. */
static void unplug(struct domus_front *front)
{
	struct dblk *dev = to_dblk(front);

	if (atomic_read(&dev->users)) {
		dev_info(&front->xb->dev, "in use; goes when the last user is gone\n");
		return;
	}
	if (dev->paused)
		domus_give_up(front);
	dblk_destroy_disk(dev);
	domus_unplug(front);
}

static void unplug_work(struct work_struct *work)
{
	struct dblk *dev = container_of(work, struct dblk, unplug_work);

	mutex_lock(&dev->front.mutex);
	if (dev->front.unplugged && dev->disk)
		unplug(&dev->front);
	mutex_unlock(&dev->front.mutex);
}

static const struct domus_front_ops ops = {
	.published = XenbusStateInitialised,
	.make_rings = dblk_make_rings,
	.write_features = dblk_write_features,
	.write_queue = dblk_write_ring,
	.connected = connected,
	.changed = dblk_read_size,
	.disconnect = dblk_disconnect,
	.unplug = unplug,
};

static int probe(struct xenbus_device *xb, const struct xenbus_device_id *id)
{
	struct dblk *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return -ENOMEM;
	kref_init(&dev->ref);
	INIT_WORK(&dev->unplug_work, unplug_work);
	dev->front.max_queues = min(max_queues ?: num_online_cpus(), num_online_cpus());
	domus_begin(&dev->front, &ops, xb);
	return 0;
}

static void remove(struct xenbus_device *xb)
{
	struct domus_front *front = dev_get_drvdata(&xb->dev);
	struct dblk *dev = to_dblk(front);

	mutex_lock(&front->mutex);
	/* What is dirty is written, if there is somebody to write it. */
	if (!front->live || xenbus_read_driver_state(xb->otherend) != XenbusStateConnected)
		domus_give_up(front);
	dblk_destroy_disk(dev);
	domus_give_up(front);
	mutex_unlock(&front->mutex);
	cancel_work_sync(&dev->unplug_work);
	domus_end(front);
	dblk_put(dev);
}

static const struct xenbus_device_id ids[] = {{"vbd"}, {""}};

static struct xenbus_driver dblk_driver = {
	.ids = ids,
	.probe = probe,
	.remove = remove,
	.resume = domus_resume,
	.otherend_changed = domus_backend_changed,
};

module_driver(dblk_driver, xenbus_register_frontend, xenbus_unregister_driver);

MODULE_DESCRIPTION("Disks of a Xen or Domus guest");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vbd");
MODULE_ALIAS("domus-blkfront");
