// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings and event channels: made and published in the store, and torn down.
 * Called by main.c with the device's mutex and RTNL; sleeps.
 */
#include <linux/module.h>

#include "netfront.h"

static unsigned int max_queues;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of a card at most (0: one for each CPU, up to 8)");

unsigned int dnet_max_queues(void)
{
	return min(max_queues ?: min(num_online_cpus(), 8U), num_possible_cpus());
}

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

static int make_rings(struct dnet_queue *queue)
{
	struct xenbus_device *xb = queue->dev->xb;
	struct xen_netif_tx_sring *tx;
	struct xen_netif_rx_sring *rx;
	int err;

	err = xenbus_setup_ring(xb, GFP_KERNEL, (void **)&tx, 1, &queue->tx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->tx, tx, XEN_PAGE_SIZE);
	err = xenbus_setup_ring(xb, GFP_KERNEL, (void **)&rx, 1, &queue->rx_ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&queue->rx, rx, XEN_PAGE_SIZE);
	return 0;
}

static int make_channel(struct dnet_queue *queue)
{
	struct xenbus_device *xb = queue->dev->xb;
	int err;

	err = xenbus_alloc_evtchn(xb, &queue->port);
	if (err)
		return err;
	err = bind_evtchn_to_irqhandler_lateeoi(queue->port, interrupt, 0, "domus-net", queue);
	if (err < 0) {
		xenbus_free_evtchn(xb, queue->port);
		return err;
	}
	queue->irq = err;
	return 0;
}

static int start_queue(struct dnet_queue *queue)
{
	int err;

	queue->broken = false;
	queue->event_pending = 0;
	err = make_rings(queue);
	if (!err)
		err = dnet_tx_start(queue);
	if (!err)
		err = dnet_rx_start(queue);
	if (!err)
		err = make_channel(queue);
	if (err)
		return err;
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

static int write_queue(struct dnet_queue *queue, struct xenbus_transaction tx, const char *folder)
{
	int err;

	err = xenbus_printf(tx, folder, "tx-ring-ref", "%u", queue->tx_ref);
	if (!err)
		err = xenbus_printf(tx, folder, "rx-ring-ref", "%u", queue->rx_ref);
	if (!err)
		err = xenbus_printf(tx, folder, "event-channel", "%u", queue->port);
	return err;
}

static int write_queues(struct dnet *dev, struct xenbus_transaction tx)
{
	unsigned int i;
	char *folder;
	int err;

	err = xenbus_printf(tx, dev->xb->nodename, "multi-queue-num-queues", "%u", dev->nr_queues);
	for (i = 0; !err && i < dev->nr_queues; i++) {
		folder = kasprintf(GFP_KERNEL, "%s/queue-%u", dev->xb->nodename, i);
		err = folder ? write_queue(&dev->queue[i], tx, folder) : -ENOMEM;
		kfree(folder);
	}
	return err;
}

/* What an earlier connection of another shape may have left. */
static void remove_old(struct dnet *dev, struct xenbus_transaction tx)
{
	static const char *const nodes[] = {"tx-ring-ref", "rx-ring-ref", "event-channel",
					    "multi-queue-num-queues"};
	char name[16];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(nodes); i++)
		xenbus_rm(tx, dev->xb->nodename, nodes[i]);
	for (i = 0; i < dev->max_queues; i++) {
		snprintf(name, sizeof(name), "queue-%u", i);
		xenbus_rm(tx, dev->xb->nodename, name);
	}
}

/*
 * What we can do. There is no control ring: the backend spreads packets over the queues as it
 * likes.
 */
static int write_nodes(struct dnet *dev, struct xenbus_transaction tx)
{
	static const char *const features[] = {"request-rx-copy",   "feature-rx-notify",
					       "feature-sg",	    "feature-gso-tcpv4",
					       "feature-gso-tcpv6", "feature-ipv6-csum-offload"};
	unsigned int i;
	int err = 0;

	if (dev->ndev->reg_state == NETREG_REGISTERED)
		remove_old(dev, tx);
	for (i = 0; !err && i < ARRAY_SIZE(features); i++)
		err = xenbus_write(tx, dev->xb->nodename, features[i], "1");
	if (err)
		return err;
	return dev->nr_queues > 1 ? write_queues(dev, tx)
				  : write_queue(&dev->queue[0], tx, dev->xb->nodename);
}

static int publish(struct dnet *dev)
{
	struct xenbus_transaction tx;
	int err;

	do {
		err = xenbus_transaction_start(&tx);
		if (err)
			return err;
		err = write_nodes(dev, tx);
		if (err) {
			xenbus_transaction_end(tx, 1);
			return err;
		}
		err = xenbus_transaction_end(tx, 0);
	} while (err == -EAGAIN);
	return err ?: xenbus_switch_state(dev->xb, XenbusStateConnected);
}

static netdev_features_t read_offers(const char *backend)
{
	netdev_features_t offers = 0;

	if (xenbus_read_unsigned(backend, "feature-sg", 0))
		offers |= NETIF_F_SG;
	if (!xenbus_read_unsigned(backend, "feature-no-csum-offload", 0))
		offers |= NETIF_F_IP_CSUM;
	if (xenbus_read_unsigned(backend, "feature-ipv6-csum-offload", 0))
		offers |= NETIF_F_IPV6_CSUM;
	if (xenbus_read_unsigned(backend, "feature-gso-tcpv4", 0))
		offers |= NETIF_F_TSO;
	if (xenbus_read_unsigned(backend, "feature-gso-tcpv6", 0))
		offers |= NETIF_F_TSO6;
	return offers;
}

/* Makes the rings and tells the backend where they are. There is no carrier until it has connected.
 */
int dnet_connect(struct dnet *dev)
{
	const char *backend = dev->xb->otherend;
	unsigned int queues = xenbus_read_unsigned(backend, "multi-queue-max-queues", 1);
	unsigned int i;
	int err;

	if (!xenbus_read_unsigned(backend, "feature-rx-copy", 0)) {
		dev_err(&dev->xb->dev,
			"the backend wants to exchange pages, which nobody does any more\n");
		return -EOPNOTSUPP;
	}
	queues = clamp(queues, 1U, dev->max_queues);
	dev->offers = read_offers(backend);
	for (i = 0; i < queues; i++) {
		err = start_queue(&dev->queue[i]);
		if (err)
			goto fail;
	}
	dev->nr_queues = queues;
	err = netif_set_real_num_queues(dev->ndev, queues, queues);
	if (!err)
		err = publish(dev);
	if (err)
		goto fail;
	if (dev->ndev->mtu > ETH_DATA_LEN && !(dev->offers & NETIF_F_SG))
		dev_set_mtu(dev->ndev, ETH_DATA_LEN);
	if (dev->ndev->reg_state == NETREG_REGISTERED)
		netdev_update_features(dev->ndev);
	if (netif_running(dev->ndev))
		dnet_enable(dev);
	return 0;
fail:
	dev->nr_queues = 0;
	for (i = 0; i < queues; i++)
		stop_queue(&dev->queue[i]);
	return err;
}

/*
 * Ends the connection, whatever state it was in. Packets under way are lost; the card stays,
 * without carrier.
 */
void dnet_disconnect(struct dnet *dev)
{
	unsigned int i;

	netif_carrier_off(dev->ndev);
	if (netif_running(dev->ndev))
		dnet_disable(dev);
	for (i = 0; i < dev->nr_queues; i++)
		stop_queue(&dev->queue[i]);
	dev->nr_queues = 0;
}
