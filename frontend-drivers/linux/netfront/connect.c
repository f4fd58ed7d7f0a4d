// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings and event channels: made, published in the store, and torn down.
 * Called by common.h with the device's mutex; takes RTNL; sleeps.
 */
#include "netfront.h"

/*
 * All the work is the poll's. The channel stays silent until the poll has told that the event is
 * done.
 */
static irqreturn_t interrupt(int irq, void *data)
{
	struct dnet_queue *queue = data;

	queue->stats.events++;
	WRITE_ONCE(queue->event_pending, 1);
	napi_schedule(&queue->napi);
	return IRQ_HANDLED;
}

static int start_queue(struct dnet_queue *queue)
{
	struct domus_front *front = &queue->dev->front;
	struct xen_netif_tx_sring *tx;
	struct xen_netif_rx_sring *rx;
	int err;

	queue->broken = false;
	queue->event_pending = 0;
	err = xenbus_setup_ring(front->xb, GFP_KERNEL, (void **)&tx, 1, &queue->tx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->tx, tx, XEN_PAGE_SIZE);
	err = xenbus_setup_ring(front->xb, GFP_KERNEL, (void **)&rx, 1, &queue->rx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->rx, rx, XEN_PAGE_SIZE);
	err = dnet_tx_start(queue);
	if (!err)
		err = dnet_rx_start(queue);
	if (err)
		return err;
	err = domus_bind(front, interrupt, queue, &queue->port);
	if (err < 0)
		return err;
	queue->irq = err;
	/* The backend finds buffers when it comes. */
	local_bh_disable();
	dnet_refill(queue);
	local_bh_enable();
	queue->connected = true;
	return 0;
}

static void stop_queue(struct dnet_queue *queue)
{
	queue->connected = false;
	if (queue->irq)
		unbind_from_irqhandler(queue->irq, queue);
	queue->irq = 0;
	dnet_rx_stop(queue);
	dnet_tx_stop(queue);
	if (queue->rx.sring)
		xenbus_teardown_ring((void **)&queue->rx.sring, 1, &queue->rx_ref);
	if (queue->tx.sring)
		xenbus_teardown_ring((void **)&queue->tx.sring, 1, &queue->tx_ref);
}

int dnet_write_queue(struct domus_front *front, unsigned int number, struct xenbus_transaction tx,
		     const char *folder)
{
	struct dnet_queue *queue = &to_dnet(front)->queue[number];
	int err;

	err = xenbus_printf(tx, folder, "tx-ring-ref", "%u", queue->tx_ref);
	if (!err)
		err = xenbus_printf(tx, folder, "rx-ring-ref", "%u", queue->rx_ref);
	if (!err)
		err = xenbus_printf(tx, folder, "event-channel", "%u", queue->port);
	return err;
}

/*
 * What we can do. There is no control ring: the backend spreads packets over the queues as it
 * likes.
 */
int dnet_write_features(struct domus_front *front, struct xenbus_transaction tx)
{
	static const char *const features[] = {"request-rx-copy",   "feature-rx-notify",
					       "feature-sg",	    "feature-gso-tcpv4",
					       "feature-gso-tcpv6", "feature-ipv6-csum-offload"};
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(features); i++)
		err = xenbus_write(tx, front->xb->nodename, features[i], "1");
	return err;
}

static netdev_features_t read_offers(const char *backend)
{
	static const struct {
		const char *node;
		netdev_features_t feature;
	} offers[] = {
		{"feature-sg", NETIF_F_SG},
		{"feature-ipv6-csum-offload", NETIF_F_IPV6_CSUM},
		{"feature-gso-tcpv4", NETIF_F_TSO},
		{"feature-gso-tcpv6", NETIF_F_TSO6},
	};
	netdev_features_t all = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(offers); i++) {
		if (xenbus_read_unsigned(backend, offers[i].node, 0))
			all |= offers[i].feature;
	}
	if (!xenbus_read_unsigned(backend, "feature-no-csum-offload", 0))
		all |= NETIF_F_IP_CSUM;
	return all;
}

/* There is no carrier until the backend has connected to the rings. */
int dnet_make_rings(struct domus_front *front)
{
	struct dnet *dev = to_dnet(front);
	struct net_device *ndev = dev->ndev;
	unsigned int i;
	int err;

	if (!xenbus_read_unsigned(front->xb->otherend, "feature-rx-copy", 0)) {
		dev_err(&front->xb->dev,
			"the backend wants to exchange pages, which nobody does any more\n");
		return -EOPNOTSUPP;
	}
	dev->offers = read_offers(front->xb->otherend);
	rtnl_lock();
	err = netif_set_real_num_queues(ndev, front->nr_queues, front->nr_queues);
	for (i = 0; !err && i < front->nr_queues; i++)
		err = start_queue(&dev->queue[i]);
	if (!err)
		dev->nr_queues = front->nr_queues;
	if (!err && ndev->mtu > ETH_DATA_LEN && !(dev->offers & NETIF_F_SG))
		dev_set_mtu(ndev, ETH_DATA_LEN);
	if (!err && ndev->reg_state == NETREG_REGISTERED)
		netdev_update_features(ndev);
	if (!err && netif_running(ndev))
		dnet_enable(dev);
	rtnl_unlock();
	return err;
}

/*
 * Ends the connection, whatever state it was in. Packets under way are lost; the card stays,
 * without carrier.
 */
void dnet_disconnect(struct domus_front *front)
{
	struct dnet *dev = to_dnet(front);
	unsigned int i;

	rtnl_lock();
	netif_carrier_off(dev->ndev);
	if (netif_running(dev->ndev))
		dnet_disable(dev);
	dev->nr_queues = 0;
	for (i = 0; i < front->max_queues; i++)
		stop_queue(&dev->queue[i]);
	rtnl_unlock();
}
