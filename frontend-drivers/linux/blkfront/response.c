// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the ring to the block layer. The backend is not trusted: every answer is copied once and
 * judged on the copy, and one that cannot be true ends the connection for good.
 */
#include <linux/highmem.h>
#include <linux/nospec.h>

#include "blkfront.h"

static blk_status_t status_of(s16 status)
{
	switch (status) {
	case BLKIF_RSP_OKAY:
		return BLK_STS_OK;
	case BLKIF_RSP_EOPNOTSUPP:
		return BLK_STS_NOTSUPP;
	default:
		return BLK_STS_IOERR;
	}
}

/* The command an answer is for, or NULL if nobody asked. */
static struct dblk_cmd *accept(struct dblk_ring *ring, const struct blkif_response *answer)
{
	const struct blk_mq_tag_set *set = &ring->dev->tags;
	unsigned int queue = blk_mq_unique_tag_to_hwq(answer->id);
	unsigned int tag = blk_mq_unique_tag_to_tag(answer->id);
	struct dblk_cmd *cmd;
	struct request *rq;

	if (answer->id > U32_MAX || queue >= set->nr_hw_queues || tag >= set->queue_depth)
		return NULL;
	rq = blk_mq_tag_to_rq(set->tags[array_index_nospec(queue, set->nr_hw_queues)],
			      array_index_nospec(tag, set->queue_depth));
	/* The block layer leaves old requests there, which have another tag by now. */
	if (!rq || rq->tag != tag)
		return NULL;
	cmd = blk_mq_rq_to_pdu(rq);
	if (cmd->ring != ring || !cmd->busy)
		return NULL;
	/* Backends name an indirect request either way. */
	if (answer->operation != cmd->operation && answer->operation != BLKIF_OP_INDIRECT)
		return NULL;
	cmd->busy = false;
	cmd->status = status_of(answer->status);
	return cmd;
}

/* Takes all answers there are into the list; false if one of them broke the rules. */
static bool collect(struct dblk_ring *ring, struct dblk_cmd **list)
{
	RING_IDX cons = ring->ring.rsp_cons;
	struct blkif_response answer;
	struct dblk_cmd *cmd;
	RING_IDX prod;
	int more;

	do {
		prod = READ_ONCE(ring->ring.sring->rsp_prod);
		virt_rmb(); /* answers after the index; pairs with the backend's push */
		if (prod - cons > ring->ring.req_prod_pvt - cons)
			return false; /* more answers than questions */
		for (; cons != prod; cons++) {
			RING_COPY_RESPONSE(&ring->ring, cons, &answer);
			cmd = accept(ring, &answer);
			if (!cmd)
				return false;
			cmd->next = *list;
			*list = cmd;
		}
		ring->ring.rsp_cons = cons;
		RING_FINAL_CHECK_FOR_RESPONSES(&ring->ring, more);
	} while (more);
	return true;
}

irqreturn_t dblk_interrupt(int irq, void *data)
{
	struct dblk_ring *ring = data;
	struct dblk_cmd *list = NULL, *cmd;
	unsigned long flags;

	spin_lock_irqsave(&ring->lock, flags);
	if (!ring->broken && !collect(ring, &list)) {
		ring->broken = true;
		schedule_work(&ring->dev->front.broken_work);
	}
	spin_unlock_irqrestore(&ring->lock, flags);

	/* A backend that broke the rules is not told that we are done: it stays silent. */
	if (!ring->broken)
		xen_irq_lateeoi(irq, list ? 0 : XEN_EOI_FLAG_SPURIOUS);
	while (list) {
		/* The command is the block layer's again once it is completed. */
		cmd = list;
		list = cmd->next;
		blk_mq_complete_request(blk_mq_rq_from_pdu(cmd));
	}
	return IRQ_HANDLED;
}

/* A backend may find out late that its medium cannot do something: it is not asked again. */
static blk_status_t not_supported(struct dblk *dev, struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_FLUSH:
		dev_warn(&dev->front.xb->dev, "the backend has no cache to flush\n");
		dev->flush = false;
		dev->barrier = false;
		blk_queue_write_cache(rq->q, false, false);
		return BLK_STS_OK;
	case REQ_OP_DISCARD:
	case REQ_OP_SECURE_ERASE:
		dev->discard = false;
		blk_queue_max_discard_sectors(rq->q, 0);
		blk_queue_max_secure_erase_sectors(rq->q, 0);
		return BLK_STS_NOTSUPP;
	default:
		return BLK_STS_IOERR;
	}
}

/* Ends a request, or sends the rest on its way. Called by blk-mq where the request came from. */
void dblk_complete(struct request *rq)
{
	struct dblk_cmd *cmd = blk_mq_rq_to_pdu(rq);
	struct dblk_ring *ring = cmd->ring;
	blk_status_t status = cmd->status;
	unsigned long flags;
	unsigned int i;

	if (cmd->copied && status == BLK_STS_OK && rq_data_dir(rq) == READ) {
		for (i = 0; i < cmd->nr; i++) {
			struct scatterlist *sg = &cmd->sg[i];

			memcpy_page(sg_page(sg), sg->offset, cmd->buffer[i].page, sg->offset,
				    sg->length);
		}
	}
	spin_lock_irqsave(&ring->lock, flags);
	dblk_release(ring, cmd);
	spin_unlock_irqrestore(&ring->lock, flags);

	if (status == BLK_STS_NOTSUPP)
		status = not_supported(ring->dev, rq);
	if (status == BLK_STS_OK && cmd->bytes < blk_rq_bytes(rq)) {
		blk_update_request(rq, BLK_STS_OK, cmd->bytes);
		blk_mq_requeue_request(rq, true);
	} else {
		blk_mq_end_request(rq, status);
	}
}
