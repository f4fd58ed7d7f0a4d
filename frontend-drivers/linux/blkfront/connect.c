// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings and event channels: made and published in the store, and torn down. What was in flight when
 * a connection ends goes back to the block layer, which sends it again when there is a backend: a
 * write that the old backend had done already is done twice with the same data, and nothing else
 * was allowed to overtake it, because it had not been acknowledged. Called by common.h with the
 * device's mutex; sleeps.
 */
#include <linux/log2.h>
#include <linux/module.h>

#include <xen/interface/io/protocols.h>

#include "blkfront.h"

static unsigned int ring_order = 2;
module_param(ring_order, uint, 0444);
MODULE_PARM_DESC(ring_order, "pages of a ring at most, as a power of two (0 to 4)");

static unsigned int pool_pages = 1024;
module_param(pool_pages, uint, 0444);
MODULE_PARM_DESC(pool_pages, "pages a disk keeps granted at most");

bool dblk_persistent = true;
module_param_named(persistent, dblk_persistent, bool, 0444);
MODULE_PARM_DESC(persistent,
		 "copy through pages that stay granted if the backend keeps them mapped");

static int make_ring(struct dblk *dev, struct dblk_ring *ring)
{
	unsigned int share = pool_pages / dev->front.nr_queues;
	struct blkif_sring *shared;
	int err;

	ring->dev = dev;
	spin_lock_init(&ring->lock);
	/* In the pool a full message always fits, and the descriptors of each. */
	ring->limit = max_t(unsigned int, share, DBLK_MAX_SEGMENTS + 1) + dblk_ring_size(dev);
	ring->pool = kvcalloc(ring->limit, sizeof(*ring->pool), GFP_KERNEL);
	if (!ring->pool)
		return -ENOMEM;
	err = xenbus_setup_ring(dev->front.xb, GFP_NOIO | __GFP_HIGH, (void **)&shared,
				dev->ring_pages, ring->ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&ring->ring, shared, dev->ring_pages * XEN_PAGE_SIZE);
	err = domus_bind(&dev->front, dblk_interrupt, ring, &ring->port);
	ring->irq = max(err, 0);
	return min(err, 0);
}

/* As many rings as common.h says, of the size this backend takes. */
int dblk_make_rings(struct domus_front *front)
{
	const char *backend = front->xb->otherend;
	struct dblk *dev = to_dblk(front);
	unsigned int order, pages, i;
	int err = 0;

	order = xenbus_read_unsigned(backend, "max-ring-page-order", 0);
	pages = xenbus_read_unsigned(backend, "max-ring-pages", 1); /* an older way to say it */
	order = max_t(unsigned int, order, pages ? ilog2(pages) : 0);
	order = min3(order, ring_order, (unsigned int)XENBUS_MAX_RING_GRANT_ORDER);
	dev->ring_pages = 1U << order;
	dev->ring = kvcalloc(front->nr_queues, sizeof(*dev->ring), GFP_KERNEL);
	if (!dev->ring)
		return -ENOMEM;
	for (i = 0; !err && i < front->nr_queues; i++)
		err = make_ring(dev, &dev->ring[i]);
	return err;
}

int dblk_write_features(struct domus_front *front, struct xenbus_transaction tx)
{
	const char *folder = front->xb->nodename;
	unsigned int pages = to_dblk(front)->ring_pages;
	int err;

	err = xenbus_printf(tx, folder, "protocol", "%s", XEN_IO_PROTO_ABI_NATIVE);
	if (!err)
		err = xenbus_printf(tx, folder, "feature-persistent", "%u", dblk_persistent);
	if (!err && pages > 1)
		err = xenbus_printf(tx, folder, "ring-page-order", "%u", ilog2(pages));
	if (!err && pages > 1)
		err = xenbus_printf(tx, folder, "num-ring-pages", "%u", pages);
	return err;
}

int dblk_write_ring(struct domus_front *front, unsigned int queue, struct xenbus_transaction tx,
		    const char *folder)
{
	struct dblk *dev = to_dblk(front);
	struct dblk_ring *ring = &dev->ring[queue];
	char name[16] = "ring-ref";
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < dev->ring_pages; i++) {
		if (dev->ring_pages > 1)
			snprintf(name, sizeof(name), "ring-ref%u", i);
		err = xenbus_printf(tx, folder, name, "%u", ring->ref[i]);
	}
	return err ?: xenbus_printf(tx, folder, "event-channel", "%u", ring->port);
}

/*
 * A backend that answers out of order (Linux's) leaves a ring that does not say what was done: one
 * that is bound anew would do again what had been answered, with pages that are others' by now, and
 * leave out the rest. It serves any ring it finds, at once; without the channels' nodes it finds
 * none, and the connection is made anew. One that answers in order goes on with the old rings.
 */
void dblk_hide_rings(struct dblk *dev)
{
	struct xenbus_device *xb = dev->front.xb;
	char name[32];
	unsigned int i;

	if (xenbus_read_unsigned(xb->otherend, "feature-domus-ordered", 0))
		return;
	xenbus_rm(XBT_NIL, xb->nodename, "event-channel");
	for (i = 0; dev->front.nr_queues > 1 && i < dev->front.nr_queues; i++) {
		snprintf(name, sizeof(name), "queue-%u/event-channel", i);
		xenbus_rm(XBT_NIL, xb->nodename, name);
	}
}

/* Takes back all that the backend had for one message, and the message. */
static bool return_request(struct request *rq, void *data)
{
	struct dblk_cmd *cmd = blk_mq_rq_to_pdu(rq);
	struct dblk *dev = data;

	if (!cmd->busy)
		return true;
	cmd->busy = false;
	dblk_release(cmd->ring, cmd);
	if (dev->front.dead)
		blk_mq_end_request(rq, BLK_STS_IOERR);
	else
		blk_mq_requeue_request(rq, false);
	return true;
}

static void free_ring(struct dblk *dev, struct dblk_ring *ring)
{
	while (ring->pooled) {
		struct domus_buffer *buffer = &ring->pool[--ring->pooled];

		gnttab_end_foreign_access(buffer->ref, buffer->page);
	}
	if (ring->ring.sring)
		xenbus_teardown_ring((void **)&ring->ring.sring, dev->ring_pages, ring->ref);
	kvfree(ring->pool);
}

/*
 * Ends the connection, whatever state it was in. Requests in flight are sent again later, or fail
 * if there is none.
 */
void dblk_disconnect(struct domus_front *front)
{
	struct dblk *dev = to_dblk(front);
	unsigned int i;

	dblk_pause(dev);
	for (i = 0; dev->ring && i < front->nr_queues; i++) {
		if (dev->ring[i].irq)
			unbind_from_irqhandler(dev->ring[i].irq, &dev->ring[i]);
	}
	if (dev->ring && dev->disk) {
		/* Answers taken already may still be on their way to the CPU that asked. */
		blk_mq_tagset_wait_completed_request(&dev->tags);
		blk_mq_tagset_busy_iter(&dev->tags, return_request, dev);
	}
	for (i = 0; dev->ring && i < front->nr_queues; i++)
		free_ring(dev, &dev->ring[i]);
	kvfree(dev->ring);
	dev->ring = NULL;
	if (front->dead)
		dblk_run(dev);
}
