// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings and event channels: made and published in the store, and torn down. What was in flight when
 * a connection ends goes back to the block layer, which sends it again when there is a backend: a
 * write that the old backend had done already is done twice with the same data, and nothing else
 * was allowed to overtake it, because it had not been acknowledged. Called by main.c with the
 * device's mutex; sleeps.
 */
#include <linux/log2.h>
#include <linux/module.h>

#include <xen/interface/io/protocols.h>

#include "blkfront.h"

static unsigned int ring_order = 2;
module_param(ring_order, uint, 0444);
MODULE_PARM_DESC(ring_order, "pages of a ring at most, as a power of two (0 to 4)");

static unsigned int max_queues;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of a disk at most (0: one for each CPU)");

static unsigned int pool_pages = 1024;
module_param(pool_pages, uint, 0444);
MODULE_PARM_DESC(pool_pages, "pages a disk keeps granted at most");

bool dblk_persistent = true;
module_param_named(persistent, dblk_persistent, bool, 0444);
MODULE_PARM_DESC(persistent,
		 "copy through pages that stay granted if the backend keeps them mapped");

/* How many rings of which size, by what this backend takes. */
static void choose_rings(struct dblk *dev)
{
	const char *backend = dev->xb->otherend;
	unsigned int order, pages, queues;

	order = xenbus_read_unsigned(backend, "max-ring-page-order", 0);
	pages = xenbus_read_unsigned(backend, "max-ring-pages", 1); /* an older way to say it */
	order = max_t(unsigned int, order, pages ? ilog2(pages) : 0);
	order = min3(order, ring_order, (unsigned int)XENBUS_MAX_RING_GRANT_ORDER);
	dev->ring_pages = 1U << order;

	queues = xenbus_read_unsigned(backend, "multi-queue-max-queues", 1);
	queues = min3(queues, max_queues ?: num_online_cpus(), num_online_cpus());
	dev->nr_rings = max(queues, 1U);
}

static int make_ring(struct dblk *dev, struct dblk_ring *ring)
{
	unsigned int size = dblk_ring_size(dev), i;
	struct blkif_sring *shared;
	int err;

	ring->dev = dev;
	spin_lock_init(&ring->lock);
	/* In pool_pages a full message always fits, and each slot's descriptors. */
	ring->limit = max_t(unsigned int, pool_pages / dev->nr_rings, DBLK_MAX_SEGMENTS + 1) + size;
	ring->slot = kvcalloc(size, sizeof(*ring->slot), GFP_KERNEL);
	ring->pool = kvcalloc(ring->limit, sizeof(*ring->pool), GFP_KERNEL);
	if (!ring->slot || !ring->pool)
		return -ENOMEM;
	for (i = 0; i < size; i++)
		ring->slot[i].next = i + 1;
	err = xenbus_setup_ring(dev->xb, GFP_NOIO | __GFP_HIGH, (void **)&shared, dev->ring_pages,
				ring->ref);
	if (err)
		return err;
	XEN_FRONT_RING_INIT(&ring->ring, shared, dev->ring_pages * XEN_PAGE_SIZE);
	err = xenbus_alloc_evtchn(dev->xb, &ring->port);
	if (err)
		return err;
	err = bind_evtchn_to_irqhandler_lateeoi(ring->port, dblk_interrupt, 0, "domus-blk", ring);
	if (err < 0) {
		xenbus_free_evtchn(dev->xb, ring->port);
		return err;
	}
	ring->irq = err;
	return 0;
}

static int write_ring(struct dblk *dev, struct xenbus_transaction tx, const char *folder,
		      struct dblk_ring *ring)
{
	char name[16];
	unsigned int i;
	int err;

	if (dev->ring_pages == 1) {
		err = xenbus_printf(tx, folder, "ring-ref", "%u", ring->ref[0]);
		if (err)
			return err;
	}
	for (i = 0; dev->ring_pages > 1 && i < dev->ring_pages; i++) {
		snprintf(name, sizeof(name), "ring-ref%u", i);
		err = xenbus_printf(tx, folder, name, "%u", ring->ref[i]);
		if (err)
			return err;
	}
	return xenbus_printf(tx, folder, "event-channel", "%u", ring->port);
}

/* What an earlier connection of another shape may have left. */
static void remove_old(struct dblk *dev, struct xenbus_transaction tx)
{
	const char *folder = dev->xb->nodename;
	char name[16];
	unsigned int i;

	xenbus_rm(tx, folder, "ring-ref");
	xenbus_rm(tx, folder, "event-channel");
	xenbus_rm(tx, folder, "ring-page-order");
	xenbus_rm(tx, folder, "num-ring-pages");
	xenbus_rm(tx, folder, "multi-queue-num-queues");
	for (i = 0; i < XENBUS_MAX_RING_GRANTS; i++) {
		snprintf(name, sizeof(name), "ring-ref%u", i);
		xenbus_rm(tx, folder, name);
	}
	for (i = 0; i < num_possible_cpus(); i++) {
		snprintf(name, sizeof(name), "queue-%u", i);
		xenbus_rm(tx, folder, name);
	}
}

static int write_nodes(struct dblk *dev, struct xenbus_transaction tx)
{
	const char *folder = dev->xb->nodename;
	unsigned int i;
	char *queue;
	int err;

	if (dev->disk)
		remove_old(dev, tx);
	err = xenbus_printf(tx, folder, "protocol", "%s", XEN_IO_PROTO_ABI_NATIVE);
	if (!err)
		err = xenbus_printf(tx, folder, "feature-persistent", "%u", dblk_persistent);
	if (!err && dev->ring_pages > 1) {
		err = xenbus_printf(tx, folder, "ring-page-order", "%u", ilog2(dev->ring_pages));
		if (!err)
			err = xenbus_printf(tx, folder, "num-ring-pages", "%u", dev->ring_pages);
	}
	if (err || dev->nr_rings == 1)
		return err ?: write_ring(dev, tx, folder, &dev->ring[0]);

	err = xenbus_printf(tx, folder, "multi-queue-num-queues", "%u", dev->nr_rings);
	for (i = 0; !err && i < dev->nr_rings; i++) {
		queue = kasprintf(GFP_KERNEL, "%s/queue-%u", folder, i);
		err = queue ? write_ring(dev, tx, queue, &dev->ring[i]) : -ENOMEM;
		kfree(queue);
	}
	return err;
}

/*
 * Makes the rings and tells the backend where they are. The disk stays paused until the backend has
 * connected.
 */
int dblk_publish(struct dblk *dev)
{
	struct xenbus_transaction tx;
	unsigned int i;
	int err;

	choose_rings(dev);
	dev->ring = kvcalloc(dev->nr_rings, sizeof(*dev->ring), GFP_KERNEL);
	if (!dev->ring)
		return -ENOMEM;
	for (i = 0; i < dev->nr_rings; i++) {
		err = make_ring(dev, &dev->ring[i]);
		if (err)
			goto fail;
	}
	do {
		err = xenbus_transaction_start(&tx);
		if (err)
			goto fail;
		err = write_nodes(dev, tx);
		if (err) {
			xenbus_transaction_end(tx, 1);
			goto fail;
		}
		err = xenbus_transaction_end(tx, 0);
	} while (err == -EAGAIN);
	if (!err)
		err = xenbus_switch_state(dev->xb, XenbusStateInitialised);
	if (!err)
		return 0;
fail:
	dblk_disconnect(dev);
	return err;
}

/*
 * Linux's backend answers out of order, so what still stands in a ring does not say what was done:
 * one that is bound anew would do again what had been answered, with pages that are others' by now,
 * and leave out the rest. It serves any ring it finds, at once; without the channels' nodes it
 * finds none, and the connection is made anew. Ours answers in order and goes on with the old rings.
 */
void dblk_hide_rings(struct dblk *dev)
{
	char name[32];
	unsigned int i;

	if (strstr(dev->xb->otherend, "/domus-vbd/"))
		return;
	xenbus_rm(XBT_NIL, dev->xb->nodename, "event-channel");
	for (i = 0; dev->nr_rings > 1 && i < dev->nr_rings; i++) {
		snprintf(name, sizeof(name), "queue-%u/event-channel", i);
		xenbus_rm(XBT_NIL, dev->xb->nodename, name);
	}
}

/* Takes back all that the backend had for one message, and the message. */
static void return_request(struct dblk *dev, struct dblk_ring *ring, struct request *rq)
{
	struct dblk_cmd *cmd = blk_mq_rq_to_pdu(rq);

	dblk_release(ring, cmd);
	if (dev->dead)
		blk_mq_end_request(rq, BLK_STS_IOERR);
	else
		blk_mq_requeue_request(rq, false);
}

static void free_ring(struct dblk *dev, struct dblk_ring *ring)
{
	unsigned int i;

	for (i = 0; ring->slot && i < dblk_ring_size(dev); i++) {
		if (ring->slot[i].rq)
			return_request(dev, ring, ring->slot[i].rq);
	}
	while (ring->pooled) {
		struct dblk_grant *grant = &ring->pool[--ring->pooled];

		gnttab_end_foreign_access(grant->ref, grant->page);
	}
	if (ring->ring.sring)
		xenbus_teardown_ring((void **)&ring->ring.sring, dev->ring_pages, ring->ref);
	kvfree(ring->pool);
	kvfree(ring->slot);
}

/*
 * Ends the connection, whatever state it was in. Requests in flight are sent again later, or fail
 * if there is none.
 */
void dblk_disconnect(struct dblk *dev)
{
	unsigned int i;

	if (!dev->ring)
		return;
	dblk_pause(dev);
	for (i = 0; i < dev->nr_rings; i++) {
		if (dev->ring[i].irq)
			unbind_from_irqhandler(dev->ring[i].irq, &dev->ring[i]);
	}
	/* Answers taken already may still be on their way to the CPU that asked. */
	if (dev->disk)
		blk_mq_tagset_wait_completed_request(&dev->tags);
	for (i = 0; i < dev->nr_rings; i++)
		free_ring(dev, &dev->ring[i]);
	kvfree(dev->ring);
	dev->ring = NULL;
}
