// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets to the backend. Everything runs under the network layer's lock of the transmit queue: it
 * is held when dnet_transmit is called, and NAPI's poll takes it to look for answers.
 */
#include <linux/nospec.h>

#include "netfront.h"

/* Where the small packet of a slot stands. */
static void *small_buffer(struct dnet_queue *queue, unsigned int id,
			  struct xen_netif_tx_request *request)
{
	unsigned int offset = id * DNET_SMALL;
	struct dnet_buffer *buffer = &queue->small[offset / PAGE_SIZE];

	request->gref = buffer->ref;
	request->offset = offset_in_page(offset);
	return page_address(buffer->page) + request->offset;
}

/* A packet being put into the ring. */
struct writer {
	struct dnet_queue *queue;
	struct sk_buff *skb;
	struct xen_netif_tx_request *first, *last;
	u16 ids[DNET_PACKET_SLOTS]; /* to be taken back if a grant cannot be had */
	unsigned int count;
	RING_IDX start;
};

static struct xen_netif_tx_request *next_request(struct writer *w)
{
	struct dnet_queue *queue = w->queue;
	struct xen_netif_tx_request *request =
		RING_GET_REQUEST(&queue->tx, queue->tx.req_prod_pvt++);
	unsigned int id = queue->free[--queue->nr_free];

	w->ids[w->count++] = id;
	*request = (struct xen_netif_tx_request){.id = id};
	queue->piece[id] = (struct dnet_piece){.busy = true, .ref = INVALID_GRANT_REF};
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

static int put_piece(struct writer *w, struct page *page, unsigned int offset, unsigned int length)
{
	struct xen_netif_tx_request *request;
	struct dnet_piece *piece;
	int ref;

	ref = gnttab_grant_foreign_access(w->queue->dev->xb->otherend_id, xen_page_to_gfn(page),
					  GTF_readonly);
	if (ref < 0)
		return ref;
	request = next_request(w);
	request->gref = ref;
	request->offset = offset;
	request->size = length;
	piece = &w->queue->piece[request->id];
	piece->skb = skb_get(w->skb);
	piece->ref = ref;
	piece->page = page;
	if (!w->first) {
		/* The first message carries the length of the packet. */
		w->first = request;
		request->size = w->skb->len;
		request->flags = checksum_flags(w->skb);
		if (skb_is_gso(w->skb))
			put_gso(w);
	}
	return 0;
}

/* A run of bytes, page by page. */
static int put_range(struct writer *w, struct page *page, unsigned int offset, unsigned int length)
{
	int err = 0;

	page += offset / PAGE_SIZE;
	offset = offset_in_page(offset);
	while (length && !err) {
		unsigned int part = min_t(unsigned int, length, PAGE_SIZE - offset);

		err = put_piece(w, page++, offset, part);
		length -= part;
		offset = 0;
	}
	return err;
}

static int put_packet(struct writer *w)
{
	const struct skb_shared_info *info = skb_shinfo(w->skb);
	unsigned int i;
	int err;

	err = put_range(w, virt_to_page(w->skb->data), offset_in_page(w->skb->data),
			skb_headlen(w->skb));
	for (i = 0; i < info->nr_frags && !err; i++) {
		const skb_frag_t *frag = &info->frags[i];

		err = put_range(w, skb_frag_page(frag), skb_frag_off(frag), skb_frag_size(frag));
	}
	return err;
}

static void put_small(struct writer *w)
{
	struct xen_netif_tx_request *request = next_request(w);

	skb_copy_bits(w->skb, 0, small_buffer(w->queue, request->id, request), w->skb->len);
	request->size = w->skb->len;
	request->flags = checksum_flags(w->skb);
	w->queue->stats.tx_copied++;
}

static unsigned int pieces_of(const struct sk_buff *skb)
{
	unsigned int i,
		count = DIV_ROUND_UP(offset_in_page(skb->data) + skb_headlen(skb), PAGE_SIZE);

	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		count += DIV_ROUND_UP(offset_in_page(skb_frag_off(frag)) + skb_frag_size(frag),
				      PAGE_SIZE);
	}
	return count;
}

static bool has_room(struct dnet_queue *queue)
{
	return queue->nr_free >= DNET_PACKET_SLOTS &&
	       RING_FREE_REQUESTS(&queue->tx) >= DNET_PACKET_SLOTS;
}

static bool forget_piece(struct dnet_queue *queue, unsigned int id)
{
	struct dnet_piece *piece = &queue->piece[id];
	bool ended = true;

	if (piece->skb) {
		ended = gnttab_try_end_foreign_access(piece->ref);
		if (!ended) {
			/*
			 * The backend holds on to the page: it must not be used again before it
			 * lets go.
			 */
			get_page(piece->page);
			gnttab_end_foreign_access(piece->ref, piece->page);
		}
		dev_consume_skb_any(piece->skb);
	}
	piece->busy = false;
	piece->skb = NULL;
	queue->free[queue->nr_free++] = id;
	return ended;
}

/* A grant could not be had in the middle of a packet. Nothing of it was announced yet. */
static void undo(struct writer *w)
{
	w->queue->tx.req_prod_pvt = w->start;
	while (w->count)
		forget_piece(w->queue, w->ids[--w->count]);
}

static void push(struct dnet_queue *queue)
{
	int notify;

	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->tx, notify);
	if (notify)
		notify_remote_via_irq(queue->irq);
}

static bool put(struct dnet_queue *queue, struct sk_buff *skb)
{
	struct writer w = {.queue = queue, .skb = skb, .start = queue->tx.req_prod_pvt};

	if (skb->len <= DNET_SMALL && !skb_is_gso(skb)) {
		put_small(&w);
		return true;
	}
	if (pieces_of(skb) > XEN_NETIF_NR_SLOTS_MIN) {
		queue->stats.tx_linearized++;
		if (skb_linearize(skb))
			return false;
	}
	if (put_packet(&w)) {
		undo(&w);
		return false;
	}
	return true;
}

netdev_tx_t dnet_transmit(struct sk_buff *skb, struct net_device *ndev)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int number = skb_get_queue_mapping(skb);
	struct dnet_queue *queue = &dev->queue[number];
	struct netdev_queue *lane = netdev_get_tx_queue(ndev, number);
	unsigned int length = skb->len;

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
		push(queue);
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
		virt_rmb(); /* the answers after the index that announces them; pairs with the
			       backend's push */
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
		virt_mb(); /* the wish before the look whether more has come; pairs with the
			      backend's push */
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
	int ref;

	queue->nr_free = 0;
	for (i = 0; i < DNET_TX_SLOTS; i++)
		queue->free[queue->nr_free++] = DNET_TX_SLOTS - 1 - i;
	for (i = 0; i < DNET_SMALL_PAGES; i++) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		ref = gnttab_grant_foreign_access(queue->dev->xb->otherend_id,
						  xen_page_to_gfn(page), GTF_readonly);
		if (ref < 0) {
			__free_page(page);
			return ref;
		}
		queue->small[i] = (struct dnet_buffer){.ref = ref, .page = page};
	}
	return 0;
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
}
