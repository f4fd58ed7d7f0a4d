// SPDX-License-Identifier: GPL-2.0-only
/*
 * domus-netfront - network cards of a Xen or Domus guest.
 *
 * This file is the card on the bus: how it appears, and how it goes. What is common to all devices
 * is in common.h; all here is called from there, with the mutex. RTNL is taken inside it for what
 * the network layer can see.
 */
#include <linux/module.h>

#include "netfront.h"

/* The other side is there: let packets flow. */
static int connected(struct domus_front *front)
{
	struct dnet *dev = to_dnet(front);
	int err;

	if (dev->ndev->reg_state == NETREG_UNINITIALIZED) {
		err = register_netdev(dev->ndev);
		if (err)
			return err;
		dev_info(&front->xb->dev, "%s: %u queue(s), features %pNF\n", dev->ndev->name,
			 front->nr_queues, &dev->ndev->features);
	}
	rtnl_lock();
	netif_carrier_on(dev->ndev);
	dnet_go(dev);
	rtnl_unlock();
	return 0;
}

static const struct domus_front_ops ops = {
	.published = XenbusStateConnected,
	.make_rings = dnet_make_rings,
	.write_features = dnet_write_features,
	.write_queue = dnet_write_queue,
	.connected = connected,
	.disconnect = dnet_disconnect,
	.unplug = domus_unplug,
};

static int probe(struct xenbus_device *xb, const struct xenbus_device_id *id)
{
	struct dnet *dev = dnet_create(xb);

	if (!dev)
		return -ENOMEM;
	domus_begin(&dev->front, &ops, xb);
	return 0;
}

static void remove(struct xenbus_device *xb)
{
	struct domus_front *front = dev_get_drvdata(&xb->dev);
	struct net_device *ndev = to_dnet(front)->ndev;

	mutex_lock(&front->mutex);
	domus_give_up(front);
	mutex_unlock(&front->mutex);
	if (ndev->reg_state == NETREG_REGISTERED)
		unregister_netdev(ndev);
	domus_end(front);
	dnet_release(to_dnet(front));
	free_netdev(ndev);
}

static const struct xenbus_device_id ids[] = {{"vif"}, {""}};

static struct xenbus_driver dnet_driver = {
	.ids = ids,
	.probe = probe,
	.remove = remove,
	.resume = domus_resume,
	.otherend_changed = domus_backend_changed,
};

module_driver(dnet_driver, xenbus_register_frontend, xenbus_unregister_driver);

MODULE_DESCRIPTION("Network cards of a Xen or Domus guest");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vif");
