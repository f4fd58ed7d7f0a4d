// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets to the backend. Everything runs under the network layer's lock of the transmit queue: it
 * is held when dnet_transmit is called, and NAPI's poll takes it to look for answers.
 *
 * Each id has a page of its own that stays granted, and a packet is copied there: no grant is given
 * or taken while packets flow, and the packet itself is done with at once.
 */
#include <linux/nospec.h>

#include "netfront.h"

/* Before a packet: a backend may put a header of its own there, and send both in one piece. */
#define HEADROOM 64

/* Tells how to cut a large packet: stands right behind the first message. */
static void put_gso(struct dnet_queue *queue, const struct skb_shared_info *info)
{
	struct xen_netif_extra_info *extra;

	extra = (struct xen_netif_extra_info *)RING_GET_REQUEST(&queue->tx,
								queue->tx.req_prod_pvt++);
	*extra = (struct xen_netif_extra_info){.type = XEN_NETIF_EXTRA_TYPE_GSO};
	extra->u.gso.size = info->gso_size;
	extra->u.gso.type = info->gso_type & SKB_GSO_TCPV6 ? XEN_NETIF_GSO_TYPE_TCPV6
							   : XEN_NETIF_GSO_TYPE_TCPV4;
}

/* The first message carries the length of the packet, and what there is to say of it. */
static u16 first_flags(const struct sk_buff *skb)
{
	u16 flags = skb_is_gso(skb) ? XEN_NETTXF_extra_info : 0;

	if (skb->ip_summed == CHECKSUM_PARTIAL)
		return flags | XEN_NETTXF_csum_blank | XEN_NETTXF_data_validated;
	return skb->ip_summed == CHECKSUM_UNNECESSARY ? flags | XEN_NETTXF_data_validated : flags;
}

static void put(struct dnet_queue *queue, const struct sk_buff *skb)
{
	unsigned int done = 0, offset = HEADROOM, length, id;
	struct xen_netif_tx_request *request;

	for (; done < skb->len; done += length, offset = 0) {
		id = queue->free[--queue->nr_free];
		queue->busy[id] = true;
		length = min_t(unsigned int, skb->len - done, PAGE_SIZE - offset);
		skb_copy_bits(skb, done, page_address(queue->tx_pages[id].page) + offset, length);
		request = RING_GET_REQUEST(&queue->tx, queue->tx.req_prod_pvt++);
		*request = (struct xen_netif_tx_request){
			.gref = queue->tx_pages[id].ref,
			.offset = offset,
			.flags = (done ? 0 : first_flags(skb)) |
				 (done + length < skb->len ? XEN_NETTXF_more_data : 0),
			.id = id,
			.size = done ? length : skb->len,
		};
		if (!done && skb_is_gso(skb))
			put_gso(queue, skb_shinfo(skb));
	}
}

/*
 * A free place in the ring has a free page, as only what tells about segmentation needs none; unless
 * the backend says of other places that they were that.
 */
static bool has_room(struct dnet_queue *queue)
{
	return min(RING_FREE_REQUESTS(&queue->tx), queue->nr_free) >= DNET_PACKET_SLOTS;
}

netdev_tx_t dnet_transmit(struct sk_buff *skb, struct net_device *ndev)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int number = skb_get_queue_mapping(skb);
	struct dnet_queue *queue = &dev->queue[number];
	struct netdev_queue *lane = netdev_get_tx_queue(ndev, number);
	int notify = 0;

	/* A card that was down and is up again has its lane open, whatever the ring has. */
	if (!queue->irq || queue->broken || !has_room(queue) || skb->len > XEN_NETIF_MAX_TX_SIZE) {
		dev_core_stats_tx_dropped_inc(ndev);
	} else {
		put(queue, skb);
		dev_sw_netstats_tx_add(ndev, 1, skb->len);
	}
	if (queue->irq && !has_room(queue))
		netif_tx_stop_queue(lane);
	/* Also what earlier packets of a bundle left unannounced. */
	if (queue->irq && (!netdev_xmit_more() || netif_xmit_stopped(lane)))
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->tx, notify);
	if (notify)
		notify_remote_via_irq(queue->irq);
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

/* The answers to packets. False if one cannot be true. */
static bool collect(struct dnet_queue *queue)
{
	struct xen_netif_tx_response answer;
	RING_IDX cons = queue->tx.rsp_cons;
	RING_IDX prod;
	unsigned int id;

	do {
		prod = READ_ONCE(queue->tx.sring->rsp_prod);
		virt_rmb(); /* answers after the index; pairs with the backend's push */
		if (prod - cons > queue->tx.req_prod_pvt - cons)
			return false;
		for (; cons != prod; cons++) {
			RING_COPY_RESPONSE(&queue->tx, cons, &answer);
			if (answer.status == XEN_NETIF_RSP_NULL)
				continue; /* the place of what told about segmentation */
			if (answer.id >= DNET_TX_SLOTS)
				return false;
			id = array_index_nospec(answer.id, DNET_TX_SLOTS);
			if (!queue->busy[id])
				return false;
			queue->busy[id] = false;
			queue->free[queue->nr_free++] = id;
		}
		queue->tx.rsp_cons = cons;
		/* Nobody waits for an answer but a full ring. */
		queue->tx.sring->rsp_event = cons + DNET_TX_SLOTS / 2;
		virt_mb(); /* the wish before the next look; pairs with the backend's push */
	} while (cons != READ_ONCE(queue->tx.sring->rsp_prod));
	return true;
}

bool dnet_tx_clean(struct dnet_queue *queue)
{
	struct net_device *ndev = queue->dev->ndev;
	struct netdev_queue *lane = netdev_get_tx_queue(ndev, queue - queue->dev->queue);
	bool good;

	__netif_tx_lock(lane, smp_processor_id());
	good = collect(queue);
	if (good && netif_tx_queue_stopped(lane) && has_room(queue) && netif_carrier_ok(ndev))
		netif_tx_wake_queue(lane);
	__netif_tx_unlock(lane);
	return good;
}

void dnet_tx_start(struct dnet_queue *queue)
{
	unsigned int i;

	for (i = 0; i < DNET_TX_SLOTS; i++) {
		queue->free[i] = DNET_TX_SLOTS - 1 - i;
		queue->busy[i] = false;
	}
	queue->nr_free = DNET_TX_SLOTS;
}
