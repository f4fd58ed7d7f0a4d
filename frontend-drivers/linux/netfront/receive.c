// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets from the backend, and NAPI's poll. Only the poll comes here while NAPI is enabled, so
 * there is no lock.
 *
 * Each place in the ring has a page of its own that stays granted. A packet is copied out, and
 * judged on the copy, as its answers are: nobody reads what the backend can still change.
 */
#include <linux/ip.h>

#include "netfront.h"

/* Gives the backend the pages that were emptied. */
void dnet_post(struct dnet_queue *queue)
{
	RING_IDX prod = queue->rx.req_prod_pvt;
	int notify;

	for (; prod - queue->rx.rsp_cons < DNET_RX_SLOTS; prod++) {
		unsigned int place = prod % DNET_RX_SLOTS;

		*RING_GET_REQUEST(&queue->rx, prod) = (struct xen_netif_rx_request){
			.id = place,
			.gref = queue->rx_pages[place].ref,
		};
	}
	queue->rx.req_prod_pvt = prod;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->rx, notify);
	if (notify)
		notify_remote_via_irq(queue->irq);
}

/* A packet being taken from the ring. */
struct reader {
	struct dnet_queue *queue;
	struct sk_buff *skb; /* NULL: no memory for it */
	RING_IDX cons, prod;
	u16 flags; /* of the first answer */
	struct xen_netif_extra_info gso;
	bool bad;
};

static bool add_fragment(struct reader *r, const void *data, unsigned int size)
{
	unsigned int count = skb_shinfo(r->skb)->nr_frags;
	struct page *page = NULL;

	if (count < MAX_SKB_FRAGS)
		page = page_pool_alloc_pages(r->queue->pool, GFP_ATOMIC | __GFP_NOWARN);
	if (!page)
		return false;
	memcpy(page_address(page), data, size);
	skb_add_rx_frag(r->skb, count, page, 0, size, PAGE_SIZE);
	return true;
}

/* The headers, or all of a small packet, go into the linear part. */
static void add_piece(struct reader *r, const void *data, unsigned int size)
{
	unsigned int head = 0;

	if (!r->skb->len) {
		head = min_t(unsigned int, size, DNET_SMALL);
		if (head < size)
			head = eth_get_headlen(r->queue->dev->ndev, data, head);
		skb_put_data(r->skb, data, head);
	}
	if (head < size && !add_fragment(r, data + head, size - head))
		r->bad = true;
}

/* What stands between the first piece and the second. */
static void take_extras(struct reader *r)
{
	struct xen_netif_extra_info extra; /* the bytes of an answer */

	do {
		if (r->cons == r->prod) {
			r->bad = true;
			return;
		}
		RING_COPY_RESPONSE(&r->queue->rx, r->cons, &extra);
		r->cons++;
		if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO)
			r->gso = extra;
		else
			r->bad = true; /* no other was asked for */
	} while (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE);
}

/* Takes all of one packet out of the ring. */
static void take_packet(struct reader *r)
{
	struct xen_netif_rx_response answer;
	const void *page;
	bool first = true;

	do {
		if (r->cons == r->prod) {
			r->bad = true; /* packets are announced whole */
			return;
		}
		RING_COPY_RESPONSE(&r->queue->rx, r->cons, &answer);
		page = page_address(r->queue->rx_pages[r->cons++ % DNET_RX_SLOTS].page);
		if (first) {
			r->flags = answer.flags;
			if (answer.flags & XEN_NETRXF_extra_info)
				take_extras(r);
		}
		first = false;
		if (answer.status <= 0 || answer.offset + answer.status > PAGE_SIZE)
			r->bad = true;
		if (!r->bad && r->skb)
			add_piece(r, page + answer.offset, answer.status);
	} while (answer.flags & XEN_NETRXF_more_data);
}

static bool set_gso(struct reader *r)
{
	struct skb_shared_info *info = skb_shinfo(r->skb);

	if (r->gso.type != XEN_NETIF_EXTRA_TYPE_GSO)
		return true;
	if (!r->gso.u.gso.size)
		return false;
	if (r->gso.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV4)
		info->gso_type = SKB_GSO_TCPV4;
	else if (r->gso.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV6)
		info->gso_type = SKB_GSO_TCPV6;
	else
		return false;
	info->gso_size = r->gso.u.gso.size;
	/* The network layer counts and checks before it believes. */
	info->gso_type |= SKB_GSO_DODGY;
	info->gso_segs = 0;
	return true;
}

/* What the answers say about checksum and segmentation; false if the packet contradicts it. */
static bool describe(struct reader *r)
{
	struct sk_buff *skb = r->skb;
	bool recalculate = false;

	if (!pskb_may_pull(skb, ETH_HLEN) || !set_gso(r))
		return false;
	skb->protocol = eth_type_trans(skb, r->queue->dev->ndev);
	skb_reset_network_header(skb);
	if (r->flags & XEN_NETRXF_csum_blank) {
		skb->ip_summed = CHECKSUM_PARTIAL;
	} else if (skb_is_gso(skb)) {
		skb->ip_summed = CHECKSUM_PARTIAL;
		recalculate = true;
	} else if (r->flags & XEN_NETRXF_data_validated) {
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	}
	return skb->ip_summed != CHECKSUM_PARTIAL || skb_checksum_setup(skb, recalculate) == 0;
}

/* One packet to the network layer. */
static void receive_one(struct dnet_queue *queue, RING_IDX prod)
{
	struct reader r = {.queue = queue, .cons = queue->rx.rsp_cons, .prod = prod};
	struct net_device *ndev = queue->dev->ndev;

	r.skb = napi_alloc_skb(&queue->napi, DNET_SMALL);
	if (r.skb)
		skb_mark_for_recycle(r.skb);
	take_packet(&r);
	queue->rx.rsp_cons = r.cons;
	if (!r.skb || r.bad || !describe(&r)) {
		if (r.bad)
			DEV_STATS_INC(ndev, rx_errors);
		dev_core_stats_rx_dropped_inc(ndev);
		kfree_skb(r.skb);
		return;
	}
	dev_sw_netstats_rx_add(ndev, r.skb->len + ETH_HLEN);
	napi_gro_receive(&queue->napi, r.skb);
}

/* Up to `budget` packets; negative if the backend broke the rules. */
static int receive(struct dnet_queue *queue, int budget)
{
	RING_IDX prod = READ_ONCE(queue->rx.sring->rsp_prod);
	int done = 0;

	virt_rmb(); /* answers after the index; pairs with the backend's push */
	if (prod - queue->rx.rsp_cons > queue->rx.req_prod_pvt - queue->rx.rsp_cons)
		return -EPROTO;
	for (; queue->rx.rsp_cons != prod && done < budget; done++)
		receive_one(queue, prod);
	return done;
}

int dnet_poll(struct napi_struct *napi, int budget)
{
	struct dnet_queue *queue = container_of(napi, struct dnet_queue, napi);
	RING_IDX answered = queue->tx.rsp_cons;
	int done = -EPROTO, more;

	if (!queue->broken)
		done = receive(queue, budget);
	if (done < 0 || !dnet_tx_clean(queue)) {
		/* The interrupt's end is never told: the channel stays silent. */
		queue->broken = true;
		schedule_work(&queue->dev->front.broken_work);
		napi_complete(napi);
		return 0;
	}
	if (done || answered != queue->tx.rsp_cons)
		queue->fruitful = true;
	dnet_post(queue);
	if (done == budget)
		return budget;
	if (napi_complete_done(napi, done)) {
		RING_FINAL_CHECK_FOR_RESPONSES(&queue->rx, more);
		if (more)
			napi_schedule(napi);
	}
	/* This turn may be the last of several for one event, and have found nothing more. */
	if (xchg(&queue->event_pending, 0))
		xen_irq_lateeoi(queue->irq,
				xchg(&queue->fruitful, false) ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return done;
}

int dnet_rx_start(struct dnet_queue *queue)
{
	struct page_pool_params how = {.pool_size = DNET_RX_SLOTS, .nid = NUMA_NO_NODE};
	struct page_pool *pool;

	how.dev = &queue->dev->front.xb->dev;
	pool = page_pool_create(&how);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	queue->pool = pool;
	return 0;
}

/* Called with NAPI disabled and the channel gone. */
void dnet_rx_stop(struct dnet_queue *queue)
{
	if (queue->pool)
		page_pool_destroy(queue->pool);
	queue->pool = NULL;
}
