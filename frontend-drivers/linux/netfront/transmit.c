// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets to the backend. Everything runs under the network layer's lock of the transmit queue: it
 * is held when dnet_transmit is called, and NAPI's poll takes it to look for answers.
 */
#include <linux/nospec.h>

#include "netfront.h"

/* A packet being put into the ring. */
struct writer {
	struct dnet_queue *queue;
	struct sk_buff *skb;
	struct xen_netif_tx_request *first, *last;
};

static struct xen_netif_tx_request *next_request(struct writer *w)
{
	struct dnet_queue *queue = w->queue;
	struct xen_netif_tx_request *request =
		RING_GET_REQUEST(&queue->tx, queue->tx.req_prod_pvt++);
	unsigned int id = queue->free[--queue->nr_free];

	*request = (struct xen_netif_tx_request){.id = id};
	queue->piece[id] = (struct dnet_piece){.busy = true};
	if (w->last)
		w->last->flags |= XEN_NETTXF_more_data;
	w->last = request;
	return request;
}

/* Tells how to cut a large packet: stands right behind the first message. */
static void put_gso(struct writer *w)
{
	struct dnet_queue *queue = w->queue;
	struct xen_netif_extra_info *extra;
	const struct skb_shared_info *info = skb_shinfo(w->skb);

	extra = (struct xen_netif_extra_info *)RING_GET_REQUEST(&queue->tx,
								queue->tx.req_prod_pvt++);
	*extra = (struct xen_netif_extra_info){.type = XEN_NETIF_EXTRA_TYPE_GSO};
	extra->u.gso.size = info->gso_size;
	extra->u.gso.type = info->gso_type & SKB_GSO_TCPV6 ? XEN_NETIF_GSO_TYPE_TCPV6
							   : XEN_NETIF_GSO_TYPE_TCPV4;
	w->first->flags |= XEN_NETTXF_extra_info;
	queue->stats.tx_gso++;
}

static u16 checksum_flags(const struct sk_buff *skb)
{
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		return XEN_NETTXF_csum_blank | XEN_NETTXF_data_validated;
	return skb->ip_summed == CHECKSUM_UNNECESSARY ? XEN_NETTXF_data_validated : 0;
}

static void put_piece(struct writer *w, struct page *page, unsigned int offset, unsigned int length)
{
	struct xen_netif_tx_request *request = next_request(w);
	struct dnet_piece *piece = &w->queue->piece[request->id];

	piece->skb = skb_get(w->skb);
	piece->buffer.page = page;
	piece->buffer.ref = gnttab_claim_grant_reference(&w->queue->grants);
	gnttab_grant_foreign_access_ref(piece->buffer.ref, w->queue->dev->front.xb->otherend_id,
					xen_page_to_gfn(page), GTF_readonly);
	request->gref = piece->buffer.ref;
	request->offset = offset;
	request->size = length;
	if (!w->first) {
		/* The first message carries the length of the packet. */
		w->first = request;
		request->size = w->skb->len;
		request->flags = checksum_flags(w->skb);
		if (skb_is_gso(w->skb))
			put_gso(w);
	}
}

/* A run of bytes, page by page. */
static void put_range(struct writer *w, struct page *page, unsigned int offset, unsigned int length)
{
	page += offset / PAGE_SIZE;
	offset = offset_in_page(offset);
	while (length) {
		unsigned int part = min_t(unsigned int, length, PAGE_SIZE - offset);

		put_piece(w, page++, offset, part);
		length -= part;
		offset = 0;
	}
}

static void put_packet(struct writer *w)
{
	const struct skb_shared_info *info = skb_shinfo(w->skb);
	unsigned int i;

	put_range(w, virt_to_page(w->skb->data), offset_in_page(w->skb->data), skb_headlen(w->skb));
	for (i = 0; i < info->nr_frags; i++) {
		const skb_frag_t *frag = &info->frags[i];

		put_range(w, skb_frag_page(frag), skb_frag_off(frag), skb_frag_size(frag));
	}
}

/* Into the part of a small page that belongs to the slot. */
static void put_small(struct writer *w)
{
	struct xen_netif_tx_request *request = next_request(w);
	unsigned int offset = request->id * DNET_SMALL;
	const struct domus_buffer *buffer = &w->queue->small[offset / PAGE_SIZE];

	request->gref = buffer->ref;
	request->offset = offset_in_page(offset);
	request->size = w->skb->len;
	request->flags = checksum_flags(w->skb);
	skb_copy_bits(w->skb, 0, page_address(buffer->page) + request->offset, w->skb->len);
	w->queue->stats.tx_copied++;
}

static unsigned int pages_of(unsigned int offset, unsigned int length)
{
	return DIV_ROUND_UP(offset_in_page(offset) + length, PAGE_SIZE);
}

static unsigned int pieces_of(const struct sk_buff *skb)
{
	const struct skb_shared_info *info = skb_shinfo(skb);
	unsigned int count = pages_of(offset_in_page(skb->data), skb_headlen(skb)), i;

	for (i = 0; i < info->nr_frags; i++)
		count += pages_of(skb_frag_off(&info->frags[i]), skb_frag_size(&info->frags[i]));
	return count;
}

/* A free place in the ring has a free piece: only what tells about segmentation has none. */
static bool has_room(struct dnet_queue *queue)
{
	return RING_FREE_REQUESTS(&queue->tx) >= DNET_PACKET_SLOTS;
}

/* False if the backend holds on to the page: it is not used again before it lets go. */
static bool forget_piece(struct dnet_queue *queue, unsigned int id)
{
	struct dnet_piece *piece = &queue->piece[id];
	bool ended = true;

	if (piece->skb) {
		ended = gnttab_end_foreign_access_ref(piece->buffer.ref);
		if (ended)
			gnttab_release_grant_reference(&queue->grants, piece->buffer.ref);
		else
			domus_end_access(&piece->buffer);
		dev_consume_skb_any(piece->skb);
	}
	piece->busy = false;
	piece->skb = NULL;
	queue->free[queue->nr_free++] = id;
	return ended;
}

static bool put(struct dnet_queue *queue, struct sk_buff *skb)
{
	struct writer w = {.queue = queue, .skb = skb};

	if (skb->len <= DNET_SMALL && !skb_is_gso(skb)) {
		put_small(&w);
		return true;
	}
	if (pieces_of(skb) > XEN_NETIF_NR_SLOTS_MIN) {
		queue->stats.tx_linearized++;
		if (skb_linearize(skb))
			return false;
	}
	put_packet(&w);
	return true;
}

netdev_tx_t dnet_transmit(struct sk_buff *skb, struct net_device *ndev)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int number = skb_get_queue_mapping(skb);
	struct dnet_queue *queue = &dev->queue[number];
	struct netdev_queue *lane = netdev_get_tx_queue(ndev, number);
	unsigned int length = skb->len;
	int notify = 0;

	if (!queue->connected || queue->broken || length > XEN_NETIF_MAX_TX_SIZE ||
	    !put(queue, skb)) {
		queue->stats.tx_dropped++;
	} else {
		queue->stats.tx_packets++;
		queue->stats.tx_bytes += length;
	}
	if (queue->connected && !has_room(queue)) {
		queue->stats.tx_full++;
		netif_tx_stop_queue(lane);
	}
	/* Also what earlier packets of a bundle left unannounced. */
	if (queue->connected && (!netdev_xmit_more() || netif_xmit_stopped(lane)))
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->tx, notify);
	if (notify)
		notify_remote_via_irq(queue->irq);
	/* The pieces in the ring hold references of their own. */
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
			if (!queue->piece[id].busy || !forget_piece(queue, id))
				return false;
		}
		queue->tx.rsp_cons = cons;
		/* Wake us when half of what is out has come back. */
		queue->tx.sring->rsp_event = cons + 1 + (queue->tx.req_prod_pvt - cons) / 2;
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

int dnet_tx_start(struct dnet_queue *queue)
{
	unsigned int i;
	int err;

	queue->nr_free = 0;
	for (i = 0; i < DNET_TX_SLOTS; i++)
		queue->free[queue->nr_free++] = DNET_TX_SLOTS - 1 - i;
	for (i = 0; i < DNET_SMALL_PAGES; i++) {
		err = domus_grant_new(&queue->dev->front, GFP_KERNEL, true, &queue->small[i]);
		if (err)
			return err;
	}
	return gnttab_alloc_grant_references(DNET_TX_SLOTS, &queue->grants);
}

/* Packets in flight are lost, as packets may be. */
void dnet_tx_stop(struct dnet_queue *queue)
{
	unsigned int i;

	for (i = 0; i < DNET_TX_SLOTS; i++) {
		if (queue->piece[i].busy)
			forget_piece(queue, i);
	}
	for (i = 0; i < DNET_SMALL_PAGES; i++) {
		if (queue->small[i].page)
			gnttab_end_foreign_access(queue->small[i].ref, queue->small[i].page);
		queue->small[i].page = NULL;
	}
	gnttab_free_grant_references(queue->grants);
	queue->grants = INVALID_GRANT_REF;
}
