// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the block layer and the user see of a disk: name, capacity, limits, who has it open.
 * Called by main.c with the device's mutex, open and release by anybody.
 */
#include <linux/major.h>
#include <linux/module.h>

#include "blkfront.h"

static unsigned int max_segments = 32;
module_param(max_segments, uint, 0444);
MODULE_PARM_DESC(max_segments, "pieces of a request at most, each up to a page (11 to 512)");

/*
 * What this backend can do. Read when it has connected; all of it is checked here, nothing is read
 * again later.
 */
int dblk_read_features(struct dblk *dev)
{
	const char *backend = dev->front.xb->otherend;
	unsigned int segments = xenbus_read_unsigned(backend, "feature-max-indirect-segments", 0);

	segments = min3(segments, max_segments, (unsigned int)DBLK_MAX_SEGMENTS);
	dev->max_segments = max_t(unsigned int, segments, BLKIF_MAX_SEGMENTS_PER_REQUEST);
	dev->persistent = dblk_persistent && xenbus_read_unsigned(backend, "feature-persistent", 0);
	dev->flush = xenbus_read_unsigned(backend, "feature-flush-cache", 0);
	dev->barrier = xenbus_read_unsigned(backend, "feature-barrier", 0);
	dev->discard = xenbus_read_unsigned(backend, "feature-discard", 0);
	dev->secure = dev->discard && xenbus_read_unsigned(backend, "discard-secure", 0);
	/* A request has room for what the first backend took. */
	if (dev->disk)
		dev->max_segments = min(dev->max_segments, dev->cmd_segments);
	return xenbus_exists(XBT_NIL, backend, "sectors") ? 0 : -ENOENT;
}

/* The capacity in sectors of 512 bytes, whatever the disk's own sector is; also when it changed. */
void dblk_read_size(struct domus_front *front)
{
	struct dblk *dev = to_dblk(front);
	unsigned long long sectors;

	if (xenbus_scanf(XBT_NIL, front->xb->otherend, "sectors", "%llu", &sectors) != 1)
		return;
	if (set_capacity_and_notify(dev->disk, sectors))
		dev_info(&front->xb->dev, "%s has %llu sectors\n", dev->disk->disk_name, sectors);
}

static unsigned int read_sector_size(struct dblk *dev, const char *node, unsigned int fallback)
{
	unsigned int size = xenbus_read_unsigned(dev->front.xb->otherend, node, fallback);

	return size >= SECTOR_SIZE && size <= PAGE_SIZE && is_power_of_2(size) ? size : fallback;
}

/* Tells the block layer what this backend takes. Nothing is on its way: the disk is new or paused.
 */
void dblk_apply_limits(struct dblk *dev)
{
	struct request_queue *q = dev->disk->queue;
	const char *backend = dev->front.xb->otherend;
	unsigned int sector = read_sector_size(dev, "sector-size", SECTOR_SIZE);
	unsigned int discards = dev->discard ? UINT_MAX : 0;

	blk_queue_logical_block_size(q, sector);
	blk_queue_physical_block_size(
		q, max(sector, read_sector_size(dev, "physical-sector-size", sector)));
	/* A piece of a request is a part of one page: that is what one grant covers. */
	blk_queue_segment_boundary(q, PAGE_SIZE - 1);
	blk_queue_max_segment_size(q, PAGE_SIZE);
	blk_queue_max_segments(q, dev->max_segments);
	blk_queue_max_hw_sectors(q, dev->max_segments * (PAGE_SIZE / SECTOR_SIZE));
	blk_queue_dma_alignment(q, SECTOR_SIZE - 1);
	/*
	 * The block layer makes a forced write of a write and a flush; barriers serve as flushes
	 * only.
	 */
	blk_queue_write_cache(q, dev->flush || dev->barrier, false);
	blk_queue_max_discard_sectors(q, discards);
	blk_queue_max_secure_erase_sectors(q, dev->secure ? discards : 0);
	q->limits.discard_granularity =
		xenbus_read_unsigned(backend, "discard-granularity", 0) ?: sector;
	q->limits.discard_alignment = xenbus_read_unsigned(backend, "discard-alignment", 0);
}

static int disk_open(struct block_device *bdev, fmode_t mode)
{
	struct dblk *dev = bdev->bd_disk->private_data;

	atomic_inc(&dev->users);
	return 0;
}

static void disk_release(struct gendisk *disk, fmode_t mode)
{
	struct dblk *dev = disk->private_data;

	if (atomic_dec_and_test(&dev->users) && READ_ONCE(dev->front.unplugged))
		schedule_work(&dev->unplug_work);
}

static void disk_free(struct gendisk *disk)
{
	dblk_put(disk->private_data);
}

static const struct block_device_operations disk_ops = {
	.owner = THIS_MODULE,
	.open = disk_open,
	.release = disk_release,
	.free_disk = disk_free,
};

/*
 * The name by the device's number, which is its name in the store as well: a number of xvd, the
 * extended numbering for more than 16 of them, or one of the old IDE and SCSI numbers. A number can
 * also name a partition, which then is a whole disk for us.
 */
static int name_disk(struct gendisk *disk, unsigned int number)
{
	unsigned int major = number >> 8, bits = 4, index = 0, partition;
	char letters[8] = "", digits[8] = "";
	int i = sizeof(letters) - 1;

	if (number & (1U << 28))
		bits = 8;
	else if (major == IDE0_MAJOR || major == IDE1_MAJOR)
		bits = 6;
	else if (major != XENVBD_MAJOR && major != SCSI_DISK0_MAJOR)
		return -EINVAL;
	if (major == IDE1_MAJOR)
		index = 2;
	index += (number & (bits == 8 ? 0xfffffff : 0xff)) >> bits;
	partition = number & ((1U << bits) - 1);
	/* 0: a, 25: z, 26: aa */
	for (index++; index; index /= 26)
		letters[--i] = 'a' + --index % 26;
	if (partition) {
		snprintf(digits, sizeof(digits), "%u", partition);
		disk->flags |= GENHD_FL_NO_PART;
	}
	snprintf(disk->disk_name, sizeof(disk->disk_name), "xvd%s%s", letters + i, digits);
	return 0;
}

/* The disk appears, with the connection standing: its partitions are read at once. */
int dblk_create_disk(struct dblk *dev)
{
	unsigned int info = xenbus_read_unsigned(dev->front.xb->otherend, "info", 0);
	unsigned int number;
	int err;

	if (xenbus_scanf(XBT_NIL, dev->front.xb->nodename, "virtual-device", "%u", &number) != 1)
		return -ENOENT;
	dev->handle = number;
	dev->cmd_segments = dev->max_segments;
	dev->tags = (struct blk_mq_tag_set){
		.ops = &dblk_mq_ops,
		.nr_hw_queues = dev->front.nr_queues,
		.queue_depth = dblk_ring_size(dev),
		.numa_node = NUMA_NO_NODE,
		.cmd_size = sizeof(struct dblk_cmd) +
			    dev->cmd_segments *
				    (sizeof(struct scatterlist) + sizeof(struct domus_buffer)),
		.flags = BLK_MQ_F_SHOULD_MERGE,
		.driver_data = dev,
	};
	err = blk_mq_alloc_tag_set(&dev->tags);
	if (err)
		return err;
	dev->disk = blk_mq_alloc_disk(&dev->tags, dev);
	if (IS_ERR(dev->disk)) {
		err = PTR_ERR(dev->disk);
		goto no_disk;
	}
	kref_get(&dev->ref);
	dev->disk->fops = &disk_ops;
	dev->disk->private_data = dev;
	blk_queue_flag_set(QUEUE_FLAG_VIRT, dev->disk->queue);
	err = name_disk(dev->disk, number);
	if (err)
		goto no_name;
	if (info & VDISK_REMOVABLE)
		dev->disk->flags |= GENHD_FL_REMOVABLE;
	set_disk_ro(dev->disk, info & (VDISK_READONLY | VDISK_CDROM));
	dblk_apply_limits(dev);
	dblk_read_size(&dev->front);
	err = device_add_disk(&dev->front.xb->dev, dev->disk, NULL);
	if (!err)
		return 0;
no_name:
	put_disk(dev->disk);
no_disk:
	dev->disk = NULL;
	blk_mq_free_tag_set(&dev->tags);
	return err;
}

/* The disk goes; what is dirty is written first if there is a backend to write it. */
void dblk_destroy_disk(struct dblk *dev)
{
	struct gendisk *disk = dev->disk;

	if (!disk)
		return;
	del_gendisk(disk);
	dev->disk = NULL;
	blk_mq_free_tag_set(&dev->tags);
	put_disk(disk);
}

/* Nothing goes to the driver from here on; waits for those who are in it. */
void dblk_pause(struct dblk *dev)
{
	if (!dev->disk || dev->paused)
		return;
	dev->paused = true;
	blk_mq_quiesce_queue(dev->disk->queue);
}

/* Sends what waited, that which was in flight when the last connection ended first. */
void dblk_run(struct dblk *dev)
{
	if (!dev->disk || !dev->paused)
		return;
	dev->paused = false;
	blk_mq_unquiesce_queue(dev->disk->queue);
	blk_mq_kick_requeue_list(dev->disk->queue);
}
