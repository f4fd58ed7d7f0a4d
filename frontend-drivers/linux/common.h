/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both frontends do with the store in the same way: leave in good order, and tell an unplug
 * from a restart. Owner: nobody, only functions. May sleep.
 */
#ifndef DOMUS_FRONT_COMMON_H
#define DOMUS_FRONT_COMMON_H

#include <linux/delay.h>
#include <xen/xenbus.h>

/*
 * Rings and grants are counted in Xen's pages of 4 KiB; these drivers are for machines whose pages
 * are the same.
 */
static_assert(PAGE_SIZE == XEN_PAGE_SIZE);

/* The tool stack clears `online` before an unplug; a backend that only restarts keeps it. */
static inline bool domus_backend_restarts(struct xenbus_device *xb)
{
	return xenbus_read_unsigned(xb->otherend, "online", 0) != 0;
}

/*
 * Says goodbye and waits until the backend has let go, so that a driver loaded next does not meet
 * it half closed. Polls, because this may run in the thread that delivers the store's watches.
 */
static inline void domus_close(struct xenbus_device *xb)
{
	unsigned int tries = 250;
	enum xenbus_state state;

	xenbus_switch_state(xb, XenbusStateClosing);
	xenbus_switch_state(xb, XenbusStateClosed);
	while (tries--) {
		state = xenbus_read_driver_state(xb->otherend);
		if (state != XenbusStateConnected && state != XenbusStateClosing)
			return;
		msleep(20);
	}
	dev_warn(&xb->dev, "the backend does not close\n");
}

#endif
