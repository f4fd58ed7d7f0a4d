// SPDX-License-Identifier: GPL-2.0-only
/*
 * domus-blkfront - disks of a Xen or Domus guest.
 *
 * This file is the life of a connection, as the two sides tell each other by their states in the store:
 *
 *   backend InitWait      rings are made and published; ours: Initialised
 *   backend Connected     features are read, the disk appears or goes on; ours: Connected
 *                         told again: its size has changed
 *   backend Closing       with `online` cleared an unplug, which waits for the last user; else a restart
 *   anything before       the backend is a new one: both close and begin again; requests in flight are kept
 *
 * Runs in the thread of the store's watches, in work items and in remove; `mutex` keeps them apart.
 */
#include <linux/module.h>

#include "blkfront.h"

static void last_put(struct kref *ref)
{
	kfree(container_of(ref, struct dblk, ref));
}

void dblk_put(struct dblk *dev)
{
	kref_put(&dev->ref, last_put);
}

/* Nothing more will come of this connection nor of a later one: what waits fails. */
static void give_up(struct dblk *dev)
{
	WRITE_ONCE(dev->dead, true);
	dblk_pause(dev);
	dblk_disconnect(dev);
	dblk_run(dev);
}

static void broken_work(struct work_struct *work)
{
	struct dblk *dev = container_of(work, struct dblk, broken_work);

	mutex_lock(&dev->mutex);
	if (!dev->dead) {
		dev_alert(&dev->xb->dev,
			  "the backend broke the protocol; the disk is no longer used\n");
		give_up(dev);
		xenbus_switch_state(dev->xb, XenbusStateClosing);
	}
	mutex_unlock(&dev->mutex);
}

static void publish(struct dblk *dev)
{
	int err;

	if (dev->dead || dev->unplug)
		return;
	dblk_disconnect(dev);
	err = dblk_publish(dev);
	if (err)
		xenbus_dev_fatal(dev->xb, err, "no rings");
}

static void connect(struct dblk *dev)
{
	int err;

	err = dblk_read_features(dev);
	if (err) {
		xenbus_dev_fatal(dev->xb, err, "the backend names no size");
		return;
	}
	dblk_hide_rings(dev);
	xenbus_switch_state(dev->xb, XenbusStateConnected);
	if (dev->disk) {
		dblk_apply_limits(dev);
		dblk_read_size(dev);
		dblk_run(dev);
		dev_info(&dev->xb->dev, "%s goes on\n", dev->disk->disk_name);
		return;
	}
	err = dblk_create_disk(dev);
	if (err) {
		xenbus_dev_fatal(dev->xb, err, "no disk");
		return;
	}
	dev_info(&dev->xb->dev, "%s: %u queue(s) of %u, up to %u pages a request%s%s%s\n",
		 dev->disk->disk_name, dev->nr_rings, dblk_ring_size(dev), dev->max_segments,
		 dev->persistent ? ", persistent grants" : "",
		 dev->flush || dev->barrier ? ", flush" : "", dev->discard ? ", discard" : "");
}

/* Only when nobody has the disk open: a user's data is worth more than the tool's patience. */
static void unplug(struct dblk *dev)
{
	WRITE_ONCE(dev->unplug, true);
	if (atomic_read(&dev->users)) {
		dev_info(&dev->xb->dev, "in use; goes when the last user is gone\n");
		return;
	}
	if (dev->paused)
		give_up(dev);
	dblk_destroy_disk(dev);
	dblk_disconnect(dev);
	xenbus_frontend_closed(dev->xb);
}

static void unplug_work(struct work_struct *work)
{
	struct dblk *dev = container_of(work, struct dblk, unplug_work);

	mutex_lock(&dev->mutex);
	if (dev->unplug && dev->disk)
		unplug(dev);
	mutex_unlock(&dev->mutex);
}

/*
 * The backend is about to leave or has left. If it means to come back, we wait for it with all
 * requests.
 */
static void leaving(struct dblk *dev, enum xenbus_state backend)
{
	if (!domus_backend_restarts(dev->xb)) {
		if (dev->xb->state != XenbusStateClosed)
			unplug(dev);
		return;
	}
	dblk_disconnect(dev);
	if (backend == XenbusStateClosing)
		xenbus_switch_state(dev->xb, XenbusStateClosed);
	else if (!dev->dead)
		xenbus_switch_state(dev->xb, XenbusStateInitialising);
}

/*
 * A new backend while we are connected: whoever was there is gone. It may have found our rings and
 * begun to serve them, so they are not replaced under its hands: we close, it closes, and both
 * begin again.
 */
static void restart(struct dblk *dev)
{
	dblk_disconnect(dev);
	xenbus_switch_state(dev->xb, XenbusStateClosed);
}

static void backend_changed(struct xenbus_device *xb, enum xenbus_state backend)
{
	struct dblk *dev = dev_get_drvdata(&xb->dev);

	mutex_lock(&dev->mutex);
	switch (backend) {
	case XenbusStateInitialising:
	case XenbusStateInitWait:
		if (dev->ring && xb->state == XenbusStateConnected)
			restart(dev);
		else if (backend == XenbusStateInitWait && xb->state == XenbusStateInitialising)
			publish(dev);
		break;
	case XenbusStateConnected:
		if (xb->state == XenbusStateInitialised && dev->ring)
			connect(dev);
		else if (xb->state == XenbusStateConnected && dev->disk)
			dblk_read_size(dev);
		break;
	case XenbusStateClosing:
	case XenbusStateClosed:
		leaving(dev, backend);
		break;
	default:
		break;
	}
	mutex_unlock(&dev->mutex);
}

static int probe(struct xenbus_device *xb, const struct xenbus_device_id *id)
{
	struct dblk *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return -ENOMEM;
	kref_init(&dev->ref);
	mutex_init(&dev->mutex);
	INIT_WORK(&dev->unplug_work, unplug_work);
	INIT_WORK(&dev->broken_work, broken_work);
	dev->xb = xb;
	dev_set_drvdata(&xb->dev, dev);
	/* The module may have been here before and have said goodbye. */
	xenbus_switch_state(xb, XenbusStateInitialising);
	return 0;
}

static void remove(struct xenbus_device *xb)
{
	struct dblk *dev = dev_get_drvdata(&xb->dev);
	bool served;

	mutex_lock(&dev->mutex);
	served = dev->ring && !dev->paused &&
		 xenbus_read_driver_state(xb->otherend) == XenbusStateConnected;
	if (!served)
		give_up(dev);
	dblk_destroy_disk(dev);
	WRITE_ONCE(dev->dead, true);
	dblk_disconnect(dev);
	mutex_unlock(&dev->mutex);
	cancel_work_sync(&dev->unplug_work);
	cancel_work_sync(&dev->broken_work);
	domus_close(xb);
	dev_set_drvdata(&xb->dev, NULL);
	dblk_put(dev);
}

/*
 * After a suspend the rings lead nowhere; the store's watch then tells of the backend that is there
 * now. Before one there is nothing to do: what is in flight will be sent again.
 */
static int resume(struct xenbus_device *xb)
{
	struct dblk *dev = dev_get_drvdata(&xb->dev);

	mutex_lock(&dev->mutex);
	dblk_disconnect(dev);
	mutex_unlock(&dev->mutex);
	return 0;
}

static const struct xenbus_device_id ids[] = {{"vbd"}, {""}};

static struct xenbus_driver dblk_driver = {
	.ids = ids,
	.probe = probe,
	.remove = remove,
	.resume = resume,
	.otherend_changed = backend_changed,
};

module_driver(dblk_driver, xenbus_register_frontend, xenbus_unregister_driver);

MODULE_DESCRIPTION("Disks of a Xen or Domus guest");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vbd");
MODULE_ALIAS("domus-blkfront");
