// SPDX-License-Identifier: GPL-2.0-only
/*
 * domus-netfront - network cards of a Xen or Domus guest.
 *
 * This file is the life of a connection, as the two sides tell each other by their states in the store:
 *
 *   backend InitWait      features are read, rings made and published; ours: Connected
 *   backend Connected     the card appears, or has its carrier again
 *   backend Closing       with `online` cleared an unplug; else a restart
 *   anything before       the backend is a new one: both close and begin again
 *
 * Runs in the thread of the store's watches, in a work item and in remove; `mutex` keeps them apart, RTNL is taken
 * inside it for what the network layer can see.
 */
#include <linux/module.h>

#include "netfront.h"

static void disconnect(struct dnet *dev)
{
	rtnl_lock();
	dnet_disconnect(dev);
	rtnl_unlock();
}

static void broken_work(struct work_struct *work)
{
	struct dnet *dev = container_of(work, struct dnet, broken_work);

	mutex_lock(&dev->mutex);
	if (!dev->dead) {
		dev_alert(&dev->xb->dev,
			  "the backend broke the protocol; the card is no longer used\n");
		dev->dead = true;
		disconnect(dev);
		xenbus_switch_state(dev->xb, XenbusStateClosing);
	}
	mutex_unlock(&dev->mutex);
}

/* Called from the poll: the rest is done where one may sleep. */
void dnet_broken(struct dnet_queue *queue)
{
	queue->broken = true;
	schedule_work(&queue->dev->broken_work);
}

static void connect(struct dnet *dev)
{
	int err;

	if (dev->dead)
		return;
	disconnect(dev);
	rtnl_lock();
	err = dnet_connect(dev);
	rtnl_unlock();
	if (err)
		xenbus_dev_fatal(dev->xb, err, "no rings");
}

/* The other side is there: let packets flow. */
static void carrier(struct dnet *dev)
{
	int err;

	if (!dev->nr_queues || netif_carrier_ok(dev->ndev))
		return;
	if (dev->ndev->reg_state == NETREG_UNINITIALIZED) {
		err = register_netdev(dev->ndev);
		if (err) {
			xenbus_dev_fatal(dev->xb, err, "no card");
			return;
		}
		dev_info(&dev->xb->dev, "%s: %u queue(s), features %pNF\n", dev->ndev->name,
			 dev->nr_queues, &dev->ndev->features);
	} else {
		dev->queue[0].stats.reconnects++;
	}
	rtnl_lock();
	netif_carrier_on(dev->ndev);
	if (netif_running(dev->ndev))
		netif_tx_wake_all_queues(dev->ndev);
	dnet_kick(dev);
	rtnl_unlock();
}

static void leaving(struct dnet *dev, enum xenbus_state backend)
{
	bool restarts = domus_backend_restarts(dev->xb);

	disconnect(dev);
	if (!restarts) {
		if (dev->xb->state != XenbusStateClosed)
			xenbus_frontend_closed(dev->xb);
	} else if (backend == XenbusStateClosing) {
		xenbus_switch_state(dev->xb, XenbusStateClosed);
	} else if (!dev->dead) {
		xenbus_switch_state(dev->xb, XenbusStateInitialising);
	}
}

/*
 * As for disks: a new backend may have found our rings already, so we close, it closes, and both
 * begin again.
 */
static void restart(struct dnet *dev)
{
	disconnect(dev);
	xenbus_switch_state(dev->xb, XenbusStateClosed);
}

static void backend_changed(struct xenbus_device *xb, enum xenbus_state backend)
{
	struct dnet *dev = dev_get_drvdata(&xb->dev);

	mutex_lock(&dev->mutex);
	switch (backend) {
	case XenbusStateInitialising:
	case XenbusStateInitWait:
		/* With rings and without carrier, we have been told twice of the same state. */
		if (dev->nr_queues && netif_carrier_ok(dev->ndev))
			restart(dev);
		else if (backend == XenbusStateInitWait && xb->state == XenbusStateInitialising)
			connect(dev);
		break;
	case XenbusStateConnected:
		carrier(dev);
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
	struct dnet *dev = dnet_create(xb);

	if (!dev)
		return -ENOMEM;
	mutex_init(&dev->mutex);
	INIT_WORK(&dev->broken_work, broken_work);
	dev_set_drvdata(&xb->dev, dev);
	/* The module may have been here before and have said goodbye. */
	xenbus_switch_state(xb, XenbusStateInitialising);
	return 0;
}

static void remove(struct xenbus_device *xb)
{
	struct dnet *dev = dev_get_drvdata(&xb->dev);

	mutex_lock(&dev->mutex);
	dev->dead = true;
	disconnect(dev);
	mutex_unlock(&dev->mutex);
	cancel_work_sync(&dev->broken_work);
	if (dev->ndev->reg_state == NETREG_REGISTERED)
		unregister_netdev(dev->ndev);
	domus_close(xb);
	dev_set_drvdata(&xb->dev, NULL);
	free_netdev(dev->ndev);
}

/*
 * After a suspend the rings lead nowhere; the store's watch then tells of the backend that is there
 * now. Before one there is nothing to do: what is in flight is lost.
 */
static int resume(struct xenbus_device *xb)
{
	struct dnet *dev = dev_get_drvdata(&xb->dev);

	mutex_lock(&dev->mutex);
	disconnect(dev);
	mutex_unlock(&dev->mutex);
	return 0;
}

static const struct xenbus_device_id ids[] = {{"vif"}, {""}};

static struct xenbus_driver dnet_driver = {
	.ids = ids,
	.probe = probe,
	.remove = remove,
	.resume = resume,
	.otherend_changed = backend_changed,
};

module_driver(dnet_driver, xenbus_register_frontend, xenbus_unregister_driver);

MODULE_DESCRIPTION("Network cards of a Xen or Domus guest");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vif");
MODULE_ALIAS("domus-netfront");
