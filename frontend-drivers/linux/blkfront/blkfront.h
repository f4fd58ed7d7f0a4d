/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of domus-blkfront share: a disk, its rings, a request on its way.
 *
 * main.c      the disk on the bus: from probe to unplug; module
 * connect.c   rings: made, published, torn down; requests in flight are kept
 * disk.c      what the block layer sees: capacity, limits, name
 * request.c   block layer -> ring
 * response.c  ring -> block layer
 */
#ifndef DOMUS_BLKFRONT_H
#define DOMUS_BLKFRONT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/kref.h>
#include <linux/scatterlist.h>
#include <xen/interface/io/blkif.h>

#include "../common.h"

/* Descriptors of an indirect request stand in one page. */
#define DBLK_MAX_SEGMENTS (PAGE_SIZE / sizeof(struct blkif_request_segment))

/*
 * A request on its way; behind every struct request. Belongs to whoever owns the request, and while
 * `busy` to the ring: then the backend owes an answer.
 */
struct dblk_cmd {
	struct dblk_ring *ring;
	struct dblk_cmd *next; /* in the list of those just answered */
	blk_status_t status;
	u8 operation;
	bool busy;
	bool copied;		      /* the data stands in pages of the pool */
	unsigned int bytes;	      /* how much of the request this message carries */
	unsigned int nr;	      /* entries of sg and buffer in use */
	struct domus_buffer indirect; /* page of descriptors, or no page */
	struct scatterlist *sg;
	struct domus_buffer *buffer;
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

	/*
	 * Pages granted once and for as long as the ring lives: copies of data, and indirect
	 * descriptors.
	 */
	struct domus_buffer *pool;
	unsigned int pooled; /* pages lying in the pool */
	unsigned int made;   /* pages lying there or in use */
	unsigned int limit;
};

/* One disk. Lock: front.mutex for the state; requests run under their ring's lock. */
struct dblk {
	struct domus_front front;
	struct kref ref; /* the device on the bus, and the disk */
	struct work_struct unplug_work;
	blkif_vdev_t handle;

	struct dblk_ring *ring; /* front.nr_queues of them; NULL: no connection */
	unsigned int ring_pages;
	bool persistent;
	bool flush, barrier, discard, secure;
	unsigned int max_segments; /* of one message on this connection */

	struct gendisk *disk; /* NULL: not yet, or no longer */
	struct blk_mq_tag_set tags;
	unsigned int cmd_segments; /* what a request has room for */
	atomic_t users;
	bool paused; /* the queue is quiesced because there is no backend */
};

static inline struct dblk *to_dblk(struct domus_front *front)
{
	return container_of(front, struct dblk, front);
}

static inline unsigned int dblk_ring_size(const struct dblk *dev)
{
	return __CONST_RING_SIZE(blkif, dev->ring_pages * XEN_PAGE_SIZE);
}

/* main.c */
void dblk_put(struct dblk *dev);

/* connect.c */
extern bool dblk_persistent;
int dblk_make_rings(struct domus_front *front);
int dblk_write_features(struct domus_front *front, struct xenbus_transaction tx);
int dblk_write_ring(struct domus_front *front, unsigned int queue, struct xenbus_transaction tx,
		    const char *folder);
void dblk_hide_rings(struct dblk *dev);
void dblk_disconnect(struct domus_front *front);

/* disk.c */
int dblk_read_features(struct dblk *dev);
void dblk_read_size(struct domus_front *front);
int dblk_create_disk(struct dblk *dev);
void dblk_destroy_disk(struct dblk *dev);
void dblk_apply_limits(struct dblk *dev);
void dblk_pause(struct dblk *dev);
void dblk_run(struct dblk *dev);

/* request.c */
extern const struct blk_mq_ops dblk_mq_ops;
void dblk_release(struct dblk_ring *ring, struct dblk_cmd *cmd);

/* response.c */
irqreturn_t dblk_interrupt(int irq, void *data);
void dblk_complete(struct request *rq);

#endif
