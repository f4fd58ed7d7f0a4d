// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control ring: names the pages that stay granted, so that a backend may keep them mapped
 * ("static grants" of Xen's io/netif.h) and need not have packets copied by the hypervisor.
 *
 * Nobody waits for an answer, and none is read: what a backend does not map it copies, so refusal
 * and silence are the same to us. The ring is written before it is published, then by the interrupt
 * only: no lock.
 */
#include <linux/module.h>

#include "netfront.h"

static unsigned int mapped = 2;
module_param(mapped, uint, 0444);
MODULE_PARM_DESC(mapped, "pages the backend may keep mapped (0: none, 1: of packets sent, 2: all)");

/* Of Xen's io/netif.h; Linux's has no static grants. */
#define ADD_GREF_MAPPING 9
#define GREF_READONLY 1

struct name {
	grant_ref_t ref;
	u16 flags, status;
};

/* Only when every earlier message has its answer: then there is room, and the lists are ours. */
static void name_pages(struct dnet *dev)
{
	struct xen_netif_ctrl_front_ring *ring = &dev->control.ring;
	unsigned int i, k;
	int notify;

	for (i = 0; i < dev->front.nr_queues; i++) {
		struct dnet_queue *queue = &dev->queue[i];
		struct name *list = (void *)ring->sring + (i + 1) * PAGE_SIZE;
		unsigned int count = 0;

		for (k = 0; k < DNET_TX_SLOTS; k++)
			list[count++] = (struct name){queue->tx_pages[k].ref, GREF_READONLY};
		for (k = 0; k < DNET_RX_SLOTS && mapped > 1; k++)
			list[count++] = (struct name){queue->rx_pages[k].ref};
		*RING_GET_REQUEST(ring, ring->req_prod_pvt++) = (struct xen_netif_ctrl_request){
			.type = ADD_GREF_MAPPING,
			.data = {i, dev->control.refs[i + 1], count},
		};
	}
	ring->sring->rsp_event = ring->req_prod_pvt + 1; /* answers need no event */
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(ring, notify);
	if (notify)
		notify_remote_via_irq(dev->control.irq);
}

/*
 * Whoever begins to serve the ring tells so by an event. If all is answered by then, another
 * backend did that, and this one knows none of the names; to hear them twice does no harm. Nothing
 * else makes events: many are false alarms, after which Linux lets the channel rest for a tick.
 */
static irqreturn_t interrupt(int irq, void *data)
{
	struct dnet *dev = data;
	struct xen_netif_ctrl_front_ring *ring = &dev->control.ring;

	if (READ_ONCE(ring->sring->rsp_prod) == ring->req_prod_pvt)
		name_pages(dev);
	xen_irq_lateeoi(irq, XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

/* After the queues. There is a ring where both sides want one. */
int dnet_control_start(struct dnet *dev)
{
	struct dnet_control *control = &dev->control;
	struct domus_front *front = &dev->front;
	int err;

	if (!mapped || !xenbus_read_unsigned(front->xb->otherend, "feature-ctrl-ring", 0))
		return 0;
	err = xenbus_setup_ring(front->xb, GFP_KERNEL, (void **)&control->ring.sring,
				1 + front->nr_queues, control->refs);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&control->ring, control->ring.sring, XEN_PAGE_SIZE);
	err = domus_bind(front, interrupt, dev, &control->port);
	if (err < 0)
		return err;
	control->irq = err;
	name_pages(dev);
	return 0;
}

void dnet_control_stop(struct dnet *dev)
{
	struct dnet_control *control = &dev->control;

	if (control->irq)
		unbind_from_irqhandler(control->irq, dev);
	control->irq = 0;
	if (control->ring.sring)
		xenbus_teardown_ring((void **)&control->ring.sring, 1 + dev->front.nr_queues,
				     control->refs);
}
