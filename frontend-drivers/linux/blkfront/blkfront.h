/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of domus-blkfront share: a disk, its rings, a request on its way.
 *
 * main.c      states of the connection, module
 * connect.c   rings and event channels: made, published, torn down; requests in flight are kept
 * disk.c      what the block layer sees: capacity, limits, name
 * request.c   block layer -> ring
 * response.c  ring -> block layer
 */
#ifndef DOMUS_BLKFRONT_H
#define DOMUS_BLKFRONT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/workqueue.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/interface/io/blkif.h>
#include <xen/page.h>

#include "../common.h"

/* Descriptors of an indirect request stand in one page. */
#define DBLK_MAX_SEGMENTS (PAGE_SIZE / sizeof(struct blkif_request_segment))

/* A page the backend may reach. */
struct dblk_grant {
	grant_ref_t ref;
	struct page *page;
};

/* A request on its way; behind every struct request. Belongs to whoever owns the request. */
struct dblk_cmd {
	struct dblk_ring *ring;
	struct dblk_cmd *next; /* in the list of those just answered */
	blk_status_t status;
	bool copied;		    /* the data stands in pages of the pool */
	unsigned int bytes;	    /* how much of the request this message carries */
	unsigned int nr;	    /* entries of sg and grant in use */
	struct dblk_grant indirect; /* page of descriptors, or no page */
	struct scatterlist *sg;
	struct dblk_grant *grant;
};

/* A message the backend owes an answer to. */
struct dblk_slot {
	struct request *rq; /* NULL: free */
	u8 operation;
	u16 next; /* free list */
};

/*
 * One ring with its event channel. Lock: `lock`, taken with interrupts off, covers everything below
 * it.
 */
struct dblk_ring {
	struct dblk *dev;
	unsigned int irq;
	evtchn_port_t port;
	grant_ref_t ref[XENBUS_MAX_RING_GRANTS];

	spinlock_t lock;
	struct blkif_front_ring ring;
	bool broken; /* the backend broke the rules: never look at the ring again */
	struct dblk_slot *slot;
	u16 free;	   /* first free slot, or the number of slots */
	unsigned int busy; /* messages whose grants are out */

	/*
	 * Pages granted once and for as long as the ring lives: copies of data, and indirect
	 * descriptors.
	 */
	struct dblk_grant *pool;
	unsigned int pooled; /* pages lying in the pool */
	unsigned int made;   /* pages lying there or in use */
	unsigned int limit;
};

/* One disk. Lock: `mutex` for the state of the connection; requests run under their ring's lock. */
struct dblk {
	struct kref ref; /* the device on the bus, and the disk */
	struct xenbus_device *xb;
	struct mutex mutex;
	struct work_struct unplug_work;
	struct work_struct broken_work;
	blkif_vdev_t handle;

	struct dblk_ring *ring; /* NULL: no connection */
	unsigned int nr_rings;
	unsigned int ring_pages;
	bool persistent;
	bool flush, barrier, discard, secure;
	unsigned int max_segments; /* of one message on this connection */

	struct gendisk *disk; /* NULL: not yet, or no longer */
	struct blk_mq_tag_set tags;
	unsigned int cmd_segments; /* what a request has room for */
	atomic_t users;
	bool paused; /* the queue is quiesced because there is no backend */
	bool unplug; /* to be removed when its last user is gone */
	bool dead;   /* never again: requests fail */
};

static inline unsigned int dblk_ring_size(const struct dblk *dev)
{
	return __CONST_RING_SIZE(blkif, dev->ring_pages * XEN_PAGE_SIZE);
}

/* main.c */
void dblk_put(struct dblk *dev);

/* connect.c */
extern bool dblk_persistent;
int dblk_publish(struct dblk *dev);
void dblk_hide_rings(struct dblk *dev);
void dblk_disconnect(struct dblk *dev);

/* disk.c */
int dblk_read_features(struct dblk *dev);
void dblk_read_size(struct dblk *dev);
int dblk_create_disk(struct dblk *dev);
void dblk_destroy_disk(struct dblk *dev);
void dblk_apply_limits(struct dblk *dev);
void dblk_pause(struct dblk *dev);
void dblk_run(struct dblk *dev);

/* request.c */
extern const struct blk_mq_ops dblk_mq_ops;
void dblk_release(struct dblk_ring *ring, struct dblk_cmd *cmd);
void dblk_end_access(struct dblk_grant *grant);
unsigned int dblk_cmd_size(unsigned int segments);

/* response.c */
irqreturn_t dblk_interrupt(int irq, void *data);
void dblk_complete(struct request *rq);

#endif
