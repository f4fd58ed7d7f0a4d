/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a disk and a card have in common as frontends: the life of a connection, as the two sides
 * tell each other by their states in the store.
 *
 *   backend InitWait      rings are made and published
 *   backend Connected     the device appears or goes on; told again: something has changed
 *   backend Closing       with `online` cleared an unplug; else a restart
 *   anything before       the backend is a new one: both close and begin again
 *
 * Owner: each module has a copy of these functions. They run in the thread of the store's watches,
 * in work items and in remove; `mutex` keeps them apart. All may sleep.
 */
#ifndef DOMUS_FRONT_COMMON_H
#define DOMUS_FRONT_COMMON_H

#include <linux/delay.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xenbus.h>

/*
 * Rings and grants are counted in Xen's pages of 4 KiB; these drivers are for machines whose pages
 * are the same.
 */
static_assert(PAGE_SIZE == XEN_PAGE_SIZE);

struct domus_front;

/* What a kind of device does at each step; called with the mutex. */
struct domus_front_ops {
	enum xenbus_state published; /* our state while the backend comes to our rings */
	int (*make_rings)(struct domus_front *front);
	int (*write_features)(struct domus_front *front, struct xenbus_transaction tx);
	int (*write_queue)(struct domus_front *front, unsigned int queue,
			   struct xenbus_transaction tx, const char *folder);
	int (*connected)(struct domus_front *front);
	void (*changed)(struct domus_front *front);    /* or NULL */
	void (*disconnect)(struct domus_front *front); /* whatever the state was */
	void (*unplug)(struct domus_front *front);
};

/* The part of every device; its address is the bus's driver data. */
struct domus_front {
	const struct domus_front_ops *ops;
	struct xenbus_device *xb;
	struct mutex mutex;
	struct work_struct broken_work;
	unsigned int max_queues; /* we want */
	unsigned int nr_queues;	 /* of this connection; 0: none */
	bool live;		 /* both sides are connected */
	bool unplugged;		 /* to be removed: no connection any more */
	bool dead;		 /* the backend broke the rules, or we leave: never again */
};

/* A page the backend may reach. */
struct domus_buffer {
	grant_ref_t ref;
	struct page *page; /* NULL: none */
};

/* Lets the backend reach a page; what becomes of the page if it cannot is the caller's matter. */
static inline int domus_grant(struct domus_front *front, struct page *page, bool readonly,
			      struct domus_buffer *buffer)
{
	int ref = gnttab_grant_foreign_access(front->xb->otherend_id, xen_page_to_gfn(page),
					      readonly);

	*buffer = (struct domus_buffer){.ref = ref, .page = page};
	return min(ref, 0);
}

/* A page of its own for the backend. */
static inline int domus_grant_new(struct domus_front *front, gfp_t gfp, bool readonly,
				  struct domus_buffer *buffer)
{
	struct page *page = alloc_page(gfp | __GFP_ZERO); /* the backend can read it */
	int err = page ? domus_grant(front, page, readonly, buffer) : -ENOMEM;

	if (err && page)
		__free_page(page);
	if (err)
		buffer->page = NULL;
	return err;
}

/*
 * Takes a grant back. A page the backend holds on to is not used again before it lets go; then
 * false.
 */
static inline bool domus_end_access(const struct domus_buffer *buffer)
{
	if (gnttab_try_end_foreign_access(buffer->ref))
		return true;
	get_page(buffer->page);
	gnttab_end_foreign_access(buffer->ref, buffer->page);
	return false;
}

/* An event channel to the backend: its interrupt, or an error. */
static inline int domus_bind(struct domus_front *front, irq_handler_t handler, void *data,
			     evtchn_port_t *port)
{
	int irq = xenbus_alloc_evtchn(front->xb, port);

	if (irq)
		return irq;
	irq = bind_evtchn_to_irqhandler_lateeoi(*port, handler, 0, front->xb->devicetype, data);
	if (irq < 0)
		xenbus_free_evtchn(front->xb, *port);
	return irq;
}

/* What an earlier connection of another shape may have left. */
static inline void domus_remove_old(struct xenbus_device *xb, struct xenbus_transaction tx)
{
	static const char *const ours[] = {"ring-",    "num-ring-", "event-channel", "multi-queue-",
					   "tx-ring-", "rx-ring-",  "ctrl-ring-",    "queue-"};
	unsigned int count, i, k;
	char **names = xenbus_directory(tx, xb->nodename, "", &count);

	if (IS_ERR(names))
		return;
	for (i = 0; i < count; i++) {
		for (k = 0; k < ARRAY_SIZE(ours); k++) {
			if (str_has_prefix(names[i], ours[k]))
				xenbus_rm(tx, xb->nodename, names[i]);
		}
	}
	kfree(names);
}

static inline int domus_write_nodes(struct domus_front *front, struct xenbus_transaction tx)
{
	const char *node = front->xb->nodename;
	unsigned int i;
	int err;

	domus_remove_old(front->xb, tx);
	err = front->ops->write_features(front, tx);
	if (err || front->nr_queues == 1)
		return err ?: front->ops->write_queue(front, 0, tx, node);
	err = xenbus_printf(tx, node, "multi-queue-num-queues", "%u", front->nr_queues);
	for (i = 0; !err && i < front->nr_queues; i++) {
		char *folder = kasprintf(GFP_KERNEL, "%s/queue-%u", node, i);

		err = folder ? front->ops->write_queue(front, i, tx, folder) : -ENOMEM;
		kfree(folder);
	}
	return err;
}

static inline void domus_disconnect(struct domus_front *front)
{
	front->ops->disconnect(front);
	front->live = false;
	front->nr_queues = 0;
}

static inline void domus_unplug(struct domus_front *front)
{
	domus_disconnect(front);
	xenbus_frontend_closed(front->xb);
}

/* Makes the rings and tells the backend where they are. */
static inline int domus_publish(struct domus_front *front)
{
	unsigned int offered =
		xenbus_read_unsigned(front->xb->otherend, "multi-queue-max-queues", 1);
	struct xenbus_transaction tx;
	int err;

	front->nr_queues = clamp(offered, 1U, front->max_queues);
	err = front->ops->make_rings(front);
	if (err)
		return err;
	do {
		err = xenbus_transaction_start(&tx);
		if (err)
			return err;
		err = domus_write_nodes(front, tx);
		if (err) {
			xenbus_transaction_end(tx, 1);
			return err;
		}
		err = xenbus_transaction_end(tx, 0);
	} while (err == -EAGAIN);
	return err ?: xenbus_switch_state(front->xb, front->ops->published);
}

static inline void domus_start(struct domus_front *front)
{
	int err;

	if (front->dead || front->unplugged)
		return;
	domus_disconnect(front);
	err = domus_publish(front);
	if (!err)
		return;
	domus_disconnect(front);
	xenbus_dev_fatal(front->xb, err, "no rings");
}

static inline void domus_connected(struct domus_front *front)
{
	int err;

	if (front->live && front->ops->changed)
		front->ops->changed(front);
	if (front->live || !front->nr_queues)
		return;
	err = front->ops->connected(front);
	front->live = !err;
	if (err)
		xenbus_dev_fatal(front->xb, err, "no device");
}

/*
 * The backend is about to leave or has left. The tool stack clears `online` before an unplug; a
 * backend that only restarts keeps it, and then we wait for it.
 */
static inline void domus_leaving(struct domus_front *front, enum xenbus_state backend)
{
	struct xenbus_device *xb = front->xb;

	if (!xenbus_read_unsigned(xb->otherend, "online", 0)) {
		WRITE_ONCE(front->unplugged, true);
		if (xb->state != XenbusStateClosed)
			front->ops->unplug(front);
		return;
	}
	domus_disconnect(front);
	if (backend == XenbusStateClosing)
		xenbus_switch_state(xb, XenbusStateClosed);
	else if (!front->dead)
		xenbus_switch_state(xb, XenbusStateInitialising);
}

static inline void domus_backend_changed(struct xenbus_device *xb, enum xenbus_state backend)
{
	struct domus_front *front = dev_get_drvdata(&xb->dev);

	mutex_lock(&front->mutex);
	switch (backend) {
	case XenbusStateInitialising:
	case XenbusStateInitWait:
		/*
		 * While we are connected: whoever was there is gone. The new one may have found our
		 * rings and begun to serve them, so they are not replaced under its hands.
		 */
		if (front->live) {
			domus_disconnect(front);
			xenbus_switch_state(xb, XenbusStateClosed);
		} else if (backend == XenbusStateInitWait && xb->state == XenbusStateInitialising) {
			domus_start(front);
		}
		break;
	case XenbusStateConnected:
		domus_connected(front);
		break;
	case XenbusStateClosing:
	case XenbusStateClosed:
		domus_leaving(front, backend);
		break;
	default:
		break;
	}
	mutex_unlock(&front->mutex);
}

/* Nothing more will come of this connection nor of a later one. */
static inline void domus_give_up(struct domus_front *front)
{
	WRITE_ONCE(front->dead, true);
	domus_disconnect(front);
}

static inline void domus_broken_work(struct work_struct *work)
{
	struct domus_front *front = container_of(work, struct domus_front, broken_work);

	mutex_lock(&front->mutex);
	if (!front->dead) {
		dev_alert(&front->xb->dev,
			  "the backend broke the protocol; the device is no longer used\n");
		domus_give_up(front);
		xenbus_switch_state(front->xb, XenbusStateClosing);
	}
	mutex_unlock(&front->mutex);
}

static inline void domus_begin(struct domus_front *front, const struct domus_front_ops *ops,
			       struct xenbus_device *xb)
{
	front->ops = ops;
	front->xb = xb;
	mutex_init(&front->mutex);
	INIT_WORK(&front->broken_work, domus_broken_work);
	dev_set_drvdata(&xb->dev, front);
	/* The module may have been here before and have said goodbye. */
	xenbus_switch_state(xb, XenbusStateInitialising);
}

/*
 * After a suspend the rings lead nowhere; the store's watch then tells of the backend that is there
 * now. Before one there is nothing to do: what is in flight is sent again, or lost.
 */
static inline int domus_resume(struct xenbus_device *xb)
{
	struct domus_front *front = dev_get_drvdata(&xb->dev);

	mutex_lock(&front->mutex);
	domus_disconnect(front);
	mutex_unlock(&front->mutex);
	return 0;
}

/*
 * Says goodbye and waits until the backend has let go, so that a driver loaded next does not meet
 * it half closed. Polls, because this may run in the thread that delivers the store's watches.
 */
static inline void domus_end(struct domus_front *front)
{
	struct xenbus_device *xb = front->xb;
	unsigned int tries = 250;
	enum xenbus_state state;

	cancel_work_sync(&front->broken_work);
	xenbus_switch_state(xb, XenbusStateClosing);
	xenbus_switch_state(xb, XenbusStateClosed);
	dev_set_drvdata(&xb->dev, NULL);
	do {
		state = xenbus_read_driver_state(xb->otherend);
		if (state != XenbusStateConnected && state != XenbusStateClosing)
			break;
		msleep(20);
	} while (--tries);
	if (!tries)
		dev_warn(&xb->dev, "the backend does not close\n");
	domus_remove_old(xb, XBT_NIL);
}

#endif
