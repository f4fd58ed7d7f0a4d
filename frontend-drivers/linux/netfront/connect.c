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

	WRITE_ONCE(queue->event_pending, 1);
	napi_schedule(&queue->napi);
	return IRQ_HANDLED;
}

/* Pages that stay granted as long as the connection. */
static int grant_all(struct dnet_queue *queue)
{
	struct domus_front *front = &queue->dev->front;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < DNET_TX_SLOTS; i++)
		err = domus_grant_new(front, GFP_KERNEL, true, &queue->tx_pages[i]);
	for (i = 0; !err && i < DNET_RX_SLOTS; i++)
		err = domus_grant_new(front, GFP_KERNEL, false, &queue->rx_pages[i]);
	return err;
}

static void end_grants(struct domus_buffer *pages, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (pages[i].page)
			gnttab_end_foreign_access(pages[i].ref, pages[i].page);
		pages[i].page = NULL;
	}
}

/*
 * A backend that keeps pages mapped lets go when it closes: they are left to it until then. What is
 * held even longer is not used again before it lets go.
 */
static void release_queue(struct dnet_queue *queue)
{
	end_grants(queue->tx_pages, DNET_TX_SLOTS);
	end_grants(queue->rx_pages, DNET_RX_SLOTS);
}

void dnet_release(struct dnet *dev)
{
	unsigned int i;

	for (i = 0; i < dev->front.max_queues; i++)
		release_queue(&dev->queue[i]);
}

static int start_queue(struct dnet_queue *queue)
{
	struct domus_front *front = &queue->dev->front;
	struct xenbus_device *xb = front->xb;
	int err;

	release_queue(queue);
	queue->broken = false;
	queue->event_pending = 0;
	err = xenbus_setup_ring(xb, GFP_KERNEL, (void **)&queue->tx.sring, 1, &queue->tx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->tx, queue->tx.sring, XEN_PAGE_SIZE);
	err = xenbus_setup_ring(xb, GFP_KERNEL, (void **)&queue->rx.sring, 1, &queue->rx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->rx, queue->rx.sring, XEN_PAGE_SIZE);
	dnet_tx_start(queue);
	err = grant_all(queue) ?: dnet_rx_start(queue);
	if (err)
		return err;
	err = domus_bind(front, interrupt, queue, &queue->port);
	if (err < 0)
		return err;
	queue->irq = err;
	/* The backend finds buffers when it comes. */
	dnet_post(queue);
	return 0;
}

static void stop_queue(struct dnet_queue *queue)
{
	if (queue->irq)
		unbind_from_irqhandler(queue->irq, queue);
	queue->irq = 0;
	dnet_rx_stop(queue);
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
	err = err ?: xenbus_printf(tx, folder, "rx-ring-ref", "%u", queue->rx_ref);
	return err ?: xenbus_printf(tx, folder, "event-channel", "%u", queue->port);
}

/* What both sides say of themselves in the same words, and what the backend's word allows. */
static const struct {
	const char *node;
	netdev_features_t feature;
} features[] = {
	{"feature-sg", NETIF_F_SG},
	{"feature-gso-tcpv4", NETIF_F_TSO},
	{"feature-gso-tcpv6", NETIF_F_TSO6},
	{"feature-ipv6-csum-offload", NETIF_F_IPV6_CSUM},
};

int dnet_write_features(struct domus_front *front, struct xenbus_transaction tx)
{
	const struct dnet_control *control = &to_dnet(front)->control;
	const char *node = front->xb->nodename;
	unsigned int i;
	int err;

	err = xenbus_write(tx, node, "request-rx-copy", "1");
	err = err ?: xenbus_write(tx, node, "feature-rx-notify", "1");
	for (i = 0; !err && i < ARRAY_SIZE(features); i++)
		err = xenbus_write(tx, node, features[i].node, "1");
	if (err || !control->irq)
		return err;
	err = xenbus_printf(tx, node, "ctrl-ring-ref", "%u", control->refs[0]);
	return err ?: xenbus_printf(tx, node, "event-channel-ctrl", "%u", control->port);
}

static netdev_features_t read_offers(const char *backend)
{
	netdev_features_t all = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(features); i++) {
		if (xenbus_read_unsigned(backend, features[i].node, 0))
			all |= features[i].feature;
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

	/* Once backends exchanged pages instead. */
	if (!xenbus_read_unsigned(front->xb->otherend, "feature-rx-copy", 0))
		return -EOPNOTSUPP;
	dev->offers = read_offers(front->xb->otherend);
	rtnl_lock();
	err = netif_set_real_num_queues(ndev, front->nr_queues, front->nr_queues);
	for (i = 0; !err && i < front->nr_queues; i++)
		err = start_queue(&dev->queue[i]);
	if (!err)
		err = dnet_control_start(dev);
	if (!err)
		dev->nr_queues = front->nr_queues;
	ndev->max_mtu = dev->offers & NETIF_F_SG ? DNET_MAX_MTU : ETH_DATA_LEN;
	if (!err && ndev->mtu > ndev->max_mtu)
		dev_set_mtu(ndev, ndev->max_mtu);
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
	dnet_control_stop(dev);
	for (i = 0; i < front->max_queues; i++)
		stop_queue(&dev->queue[i]);
	rtnl_unlock();
}
