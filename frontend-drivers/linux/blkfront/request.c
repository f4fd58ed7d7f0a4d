// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the block layer to the ring. Called by blk-mq on any CPU; everything runs under the ring's
 * lock.
 *
 * Data travels either in the request's own pages, granted for the time of the request, or, when
 * both sides keep grants, in pages of the ring's pool, which stay granted: a copy is cheaper than
 * the backend's map and unmap.
 */
#include <linux/highmem.h>

#include "blkfront.h"

/* A page of the pool, made when there is none. */
static int take_pooled(struct dblk_ring *ring, struct domus_buffer *buffer)
{
	int err;

	if (ring->pooled) {
		*buffer = ring->pool[--ring->pooled];
		return 0;
	}
	if (ring->made == ring->limit)
		return -EBUSY;
	err = domus_grant_new(&ring->dev->front, GFP_NOWAIT | __GFP_NOWARN, false, buffer);
	ring->made += !err;
	return err;
}

/* Gives back what a message had: pages of the pool stay granted. Under the ring's lock. */
void dblk_release(struct dblk_ring *ring, struct dblk_cmd *cmd)
{
	unsigned int i;

	for (i = 0; i < cmd->nr; i++) {
		if (cmd->copied)
			ring->pool[ring->pooled++] = cmd->buffer[i];
		else
			domus_end_access(&cmd->buffer[i]);
	}
	cmd->nr = 0;
	if (cmd->indirect.page)
		ring->pool[ring->pooled++] = cmd->indirect;
	cmd->indirect.page = NULL;
}

/* Lets the backend reach one piece of the request's data. */
static int grant_piece(struct dblk_ring *ring, struct dblk_cmd *cmd, unsigned int i, bool write)
{
	struct scatterlist *sg = &cmd->sg[i];
	struct domus_buffer *buffer = &cmd->buffer[i];
	int err;

	if (!cmd->copied)
		return domus_grant(&ring->dev->front, sg_page(sg), write, buffer);
	err = take_pooled(ring, buffer);
	if (!err && write)
		memcpy_page(buffer->page, sg->offset, sg_page(sg), sg->offset, sg->length);
	return err;
}

/*
 * Reads and writes. What does not fit into one message (the backend came back and takes fewer
 * pieces than before) goes in several, one after the other: see dblk_complete.
 */
static int prepare_transfer(struct dblk_ring *ring, struct dblk_cmd *cmd, struct request *rq,
			    struct blkif_request *msg)
{
	struct dblk *dev = ring->dev;
	bool write = rq_data_dir(rq) == WRITE;
	struct blkif_request_segment *segment = msg->u.rw.seg;
	unsigned int count, i;
	int err;

	cmd->copied = dev->persistent;
	count = min_t(unsigned int, blk_rq_map_sg(rq->q, rq, cmd->sg), dev->max_segments);
	msg->operation = write ? BLKIF_OP_WRITE : BLKIF_OP_READ;
	if (count > BLKIF_MAX_SEGMENTS_PER_REQUEST) {
		err = take_pooled(ring, &cmd->indirect);
		if (err)
			return err;
		segment = page_address(cmd->indirect.page);
		msg->u.indirect.indirect_op = msg->operation;
		msg->operation = BLKIF_OP_INDIRECT;
		msg->u.indirect.nr_segments = count;
		msg->u.indirect.sector_number = blk_rq_pos(rq);
		msg->u.indirect.handle = dev->handle;
		msg->u.indirect.indirect_grefs[0] = cmd->indirect.ref;
	} else {
		msg->u.rw.nr_segments = count;
		msg->u.rw.handle = dev->handle;
		msg->u.rw.sector_number = blk_rq_pos(rq);
	}
	for (i = 0; i < count; i++) {
		struct scatterlist *sg = &cmd->sg[i];

		err = grant_piece(ring, cmd, i, write);
		if (err)
			return err;
		cmd->nr++;
		cmd->bytes += sg->length;
		segment[i] = (struct blkif_request_segment){
			.gref = cmd->buffer[i].ref,
			.first_sect = sg->offset >> SECTOR_SHIFT,
			.last_sect = (sg->offset + sg->length - 1) >> SECTOR_SHIFT,
		};
	}
	return 0;
}

static int prepare(struct dblk_ring *ring, struct dblk_cmd *cmd, struct request *rq,
		   struct blkif_request *msg)
{
	struct dblk *dev = ring->dev;

	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		return prepare_transfer(ring, cmd, rq, msg);
	case REQ_OP_FLUSH:
		/* An empty barrier is a flush as well, for backends that know no other. */
		if (!dev->flush && !dev->barrier)
			return -EOPNOTSUPP;
		msg->operation = dev->flush ? BLKIF_OP_FLUSH_DISKCACHE : BLKIF_OP_WRITE_BARRIER;
		msg->u.rw.handle = dev->handle;
		return 0;
	case REQ_OP_DISCARD:
	case REQ_OP_SECURE_ERASE:
		if (!dev->discard || (req_op(rq) == REQ_OP_SECURE_ERASE && !dev->secure))
			return -EOPNOTSUPP;
		msg->operation = BLKIF_OP_DISCARD;
		msg->u.discard.flag = req_op(rq) == REQ_OP_SECURE_ERASE ? BLKIF_DISCARD_SECURE : 0;
		msg->u.discard.sector_number = blk_rq_pos(rq);
		msg->u.discard.nr_sectors = blk_rq_sectors(rq);
		cmd->bytes = blk_rq_bytes(rq);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Hands the backend what was put into the ring, and leaves the lock. */
static void push_and_unlock(struct dblk_ring *ring, bool push, unsigned long flags)
{
	int notify = 0;

	if (push)
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring->ring, notify);
	spin_unlock_irqrestore(&ring->lock, flags);
	if (notify)
		notify_remote_via_irq(ring->irq);
}

static blk_status_t put(struct dblk_ring *ring, struct request *rq)
{
	struct dblk_cmd *cmd = blk_mq_rq_to_pdu(rq);
	struct blkif_request msg = {};
	int err;

	if (RING_FULL(&ring->ring))
		return BLK_STS_RESOURCE;
	cmd->ring = ring;
	cmd->bytes = 0;
	cmd->nr = 0;
	cmd->copied = false;
	cmd->indirect.page = NULL;
	err = prepare(ring, cmd, rq, &msg);
	if (err) {
		/* blk-mq comes again when a request has ended, or after a while. */
		dblk_release(ring, cmd);
		return err == -EOPNOTSUPP ? BLK_STS_NOTSUPP : BLK_STS_RESOURCE;
	}
	cmd->busy = true;
	cmd->operation =
		msg.operation == BLKIF_OP_INDIRECT ? msg.u.indirect.indirect_op : msg.operation;
	blk_mq_start_request(rq);
	/* The id stands at the same place in every kind of message. */
	msg.u.rw.id = blk_mq_unique_tag(rq);
	*RING_GET_REQUEST(&ring->ring, ring->ring.req_prod_pvt) = msg;
	ring->ring.req_prod_pvt++;
	return BLK_STS_OK;
}

static struct dblk_ring *ring_of(struct blk_mq_hw_ctx *hctx)
{
	struct dblk *dev = hctx->queue->queuedata;

	/* A backend that came back may offer fewer rings than the disk has queues. */
	return &dev->ring[hctx->queue_num % dev->front.nr_queues];
}

static blk_status_t queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *data)
{
	struct dblk *dev = hctx->queue->queuedata;
	struct dblk_ring *ring;
	blk_status_t status;
	unsigned long flags;

	/* Without a connection the queue is quiesced: then nobody comes here. */
	if (READ_ONCE(dev->front.dead))
		return BLK_STS_IOERR;
	ring = ring_of(hctx);
	spin_lock_irqsave(&ring->lock, flags);
	status = put(ring, data->rq);
	push_and_unlock(ring, data->last || status != BLK_STS_OK, flags);
	if (status == BLK_STS_NOTSUPP && req_op(data->rq) == REQ_OP_FLUSH) {
		/* A backend without a cache to flush: what was written is where it belongs. */
		blk_mq_start_request(data->rq);
		blk_mq_end_request(data->rq, BLK_STS_OK);
		return BLK_STS_OK;
	}
	return status;
}

static void commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	struct dblk *dev = hctx->queue->queuedata;
	struct dblk_ring *ring;
	unsigned long flags;

	if (READ_ONCE(dev->front.dead))
		return;
	ring = ring_of(hctx);
	spin_lock_irqsave(&ring->lock, flags);
	push_and_unlock(ring, true, flags);
}

static int init_request(struct blk_mq_tag_set *set, struct request *rq, unsigned int hctx,
			unsigned int node)
{
	struct dblk *dev = set->driver_data;
	struct dblk_cmd *cmd = blk_mq_rq_to_pdu(rq);

	cmd->sg = (struct scatterlist *)(cmd + 1);
	cmd->buffer = (struct domus_buffer *)(cmd->sg + dev->cmd_segments);
	sg_init_table(cmd->sg, dev->cmd_segments);
	return 0;
}

const struct blk_mq_ops dblk_mq_ops = {
	.queue_rq = queue_rq,
	.commit_rqs = commit_rqs,
	.complete = dblk_complete,
	.init_request = init_request,
};
