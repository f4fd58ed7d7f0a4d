// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets from the backend, and NAPI's poll. Only the poll comes here while NAPI is enabled, so
 * there is no lock.
 *
 * The backend writes into pages granted for it. A page that becomes part of a packet is taken back
 * first, so that nobody reads what the backend can still change; a small packet is copied out
 * instead, and its page stays granted and goes back into the ring. Answers are copied once and
 * judged on the copy.
 */
#include <linux/ip.h>

#include "netfront.h"

static void keep(struct dnet_queue *queue, struct domus_buffer *buffer)
{
	queue->spare[queue->nr_spare++] = *buffer;
	buffer->page = NULL;
}

/* Ends the backend's access. A page it holds on to is given up until it lets go; then false. */
static bool take_back(struct dnet_queue *queue, struct domus_buffer *buffer)
{
	if (gnttab_try_end_foreign_access(buffer->ref))
		return true;
	page_pool_release_page(queue->pool, buffer->page);
	gnttab_end_foreign_access(buffer->ref, buffer->page);
	buffer->page = NULL;
	return false;
}

static bool make_buffer(struct dnet_queue *queue, struct domus_buffer *buffer)
{
	struct page *page;

	if (queue->nr_spare) {
		*buffer = queue->spare[--queue->nr_spare];
		return true;
	}
	/* Cleared when it comes from the kernel: the backend can read it. */
	page = page_pool_alloc_pages(queue->pool, GFP_ATOMIC | __GFP_NOWARN | __GFP_ZERO);
	if (!page)
		return false;
	if (!domus_grant(&queue->dev->front, page, false, buffer))
		return true;
	page_pool_put_full_page(queue->pool, page, false);
	buffer->page = NULL;
	return false;
}

/* Posts a buffer at every place that has none. A timer tries again when memory was short. */
void dnet_refill(struct dnet_queue *queue)
{
	RING_IDX prod = queue->rx.req_prod_pvt;
	struct xen_netif_rx_request *request;
	unsigned int place;
	int notify;

	for (; prod - queue->rx.rsp_cons < DNET_RX_SLOTS; prod++) {
		place = prod % DNET_RX_SLOTS;
		if (!make_buffer(queue, &queue->posted[place])) {
			queue->stats.rx_no_memory++;
			mod_timer(&queue->refill_timer, jiffies + HZ / 10);
			break;
		}
		request = RING_GET_REQUEST(&queue->rx, prod);
		*request = (struct xen_netif_rx_request){.id = place,
							 .gref = queue->posted[place].ref};
	}
	if (prod == queue->rx.req_prod_pvt)
		return;
	queue->rx.req_prod_pvt = prod;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->rx, notify);
	if (notify)
		notify_remote_via_irq(queue->irq);
}

static void refill_timer(struct timer_list *timer)
{
	struct dnet_queue *queue = from_timer(queue, timer, refill_timer);

	napi_schedule(&queue->napi);
}

/* A packet being taken from the ring. */
struct reader {
	struct dnet_queue *queue;
	struct sk_buff *skb; /* NULL: no memory for it */
	RING_IDX cons, prod;
	u16 flags; /* of the first answer */
	struct xen_netif_extra_info gso;
	bool bad;
	bool broken; /* the backend holds a page that was taken back */
};

static void add_piece(struct reader *r, struct domus_buffer *buffer,
		      const struct xen_netif_rx_response *answer)
{
	void *data = page_address(buffer->page) + answer->offset;
	unsigned int size = answer->status, head = 0;
	bool first = !r->skb->len;

	if (first && size <= DNET_SMALL) {
		skb_put_data(r->skb, data, size);
		keep(r->queue, buffer);
		r->queue->stats.rx_copied++;
		return;
	}
	if (skb_shinfo(r->skb)->nr_frags == MAX_SKB_FRAGS) {
		r->bad = true;
		keep(r->queue, buffer);
		return;
	}
	if (!take_back(r->queue, buffer)) {
		r->broken = true;
		return;
	}
	/* The headers go into the linear part. */
	if (first) {
		head = eth_get_headlen(r->queue->dev->ndev, data, DNET_SMALL);
		skb_put_data(r->skb, data, head);
	}
	skb_add_rx_frag(r->skb, skb_shinfo(r->skb)->nr_frags, buffer->page, answer->offset + head,
			size - head, PAGE_SIZE);
	buffer->page = NULL;
}

static void take_piece(struct reader *r, struct domus_buffer *buffer,
		       const struct xen_netif_rx_response *answer)
{
	if (answer->status <= 0 || answer->offset + answer->status > PAGE_SIZE)
		r->bad = true;
	if (r->bad || r->broken || !r->skb)
		keep(r->queue, buffer);
	else
		add_piece(r, buffer, answer);
}

/* What stands between the first piece and the second. */
static void take_extras(struct reader *r)
{
	struct xen_netif_rx_response answer;
	struct xen_netif_extra_info extra;

	do {
		if (r->cons == r->prod) {
			r->bad = true;
			return;
		}
		/* The same bytes in another form; one copy serves both. */
		RING_COPY_RESPONSE(&r->queue->rx, r->cons, &answer);
		BUILD_BUG_ON(sizeof(extra) != sizeof(answer));
		memcpy(&extra, &answer, sizeof(extra));
		keep(r->queue, &r->queue->posted[r->cons++ % DNET_RX_SLOTS]);
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
	struct domus_buffer *buffer;
	bool first = true;

	do {
		if (r->cons == r->prod) {
			r->bad = true; /* packets are announced whole */
			return;
		}
		RING_COPY_RESPONSE(&r->queue->rx, r->cons, &answer);
		buffer = &r->queue->posted[r->cons++ % DNET_RX_SLOTS];
		if (first) {
			r->flags = answer.flags;
			if (answer.flags & XEN_NETRXF_extra_info)
				take_extras(r);
		}
		first = false;
		take_piece(r, buffer, &answer);
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
	r->queue->stats.rx_gso++;
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

/* One packet to the network layer; false if the backend broke the rules. */
static bool receive_one(struct dnet_queue *queue, RING_IDX prod)
{
	struct reader r = {.queue = queue, .cons = queue->rx.rsp_cons, .prod = prod};

	r.skb = napi_alloc_skb(&queue->napi, DNET_SMALL);
	if (r.skb)
		skb_mark_for_recycle(r.skb);
	take_packet(&r);
	queue->rx.rsp_cons = r.cons;
	if (!r.skb) {
		queue->stats.rx_no_memory++;
		return !r.broken;
	}
	if (r.bad || r.broken || !describe(&r)) {
		queue->stats.rx_bad += r.bad;
		queue->stats.rx_dropped++;
		kfree_skb(r.skb);
		return !r.broken;
	}
	queue->stats.rx_packets++;
	queue->stats.rx_bytes += r.skb->len + ETH_HLEN;
	napi_gro_receive(&queue->napi, r.skb);
	return true;
}

/* Up to `budget` packets; negative if the backend broke the rules. */
static int receive(struct dnet_queue *queue, int budget)
{
	RING_IDX prod = READ_ONCE(queue->rx.sring->rsp_prod);
	int done = 0;

	virt_rmb(); /* answers after the index; pairs with the backend's push */
	if (prod - queue->rx.rsp_cons > queue->rx.req_prod_pvt - queue->rx.rsp_cons)
		return -EPROTO;
	while (queue->rx.rsp_cons != prod && done < budget) {
		if (!receive_one(queue, prod))
			return -EPROTO;
		done++;
	}
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
	dnet_refill(queue);
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

	timer_setup(&queue->refill_timer, refill_timer, 0);
	queue->nr_spare = 0;
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
	unsigned int i;

	if (!queue->pool)
		return;
	del_timer_sync(&queue->refill_timer);
	for (i = 0; i < DNET_RX_SLOTS; i++) {
		if (queue->posted[i].page)
			keep(queue, &queue->posted[i]);
	}
	while (queue->nr_spare) {
		struct domus_buffer *buffer = &queue->spare[--queue->nr_spare];

		if (take_back(queue, buffer))
			page_pool_put_full_page(queue->pool, buffer->page, false);
	}
	page_pool_destroy(queue->pool);
	queue->pool = NULL;
}
