/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of domus-netfront share: a card and its queues, each a pair of rings.
 *
 * main.c      the card on the bus: from probe to unplug; module
 * connect.c   rings and event channels: made, published, torn down
 * device.c    what the network layer sees: open, features, MAC and MTU, statistics
 * transmit.c  packets to the backend
 * receive.c   packets from it
 */
#ifndef DOMUS_NETFRONT_H
#define DOMUS_NETFRONT_H

#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <net/page_pool.h>
#include <xen/interface/io/netif.h>

#include "../common.h"

#define DNET_TX_SLOTS __CONST_RING_SIZE(xen_netif_tx, XEN_PAGE_SIZE)
#define DNET_RX_SLOTS __CONST_RING_SIZE(xen_netif_rx, XEN_PAGE_SIZE)

/*
 * Packets up to this size are copied: on transmission into pages that stay granted, on reception
 * out of them.
 */
#define DNET_SMALL 256
#define DNET_SMALL_PAGES (DNET_TX_SLOTS * DNET_SMALL / PAGE_SIZE)

/* Most messages one packet can need: its pieces, and one for what segmentation needs to know. */
#define DNET_PACKET_SLOTS (XEN_NETIF_NR_SLOTS_MIN + 1)

/* A piece of a packet on its way. */
struct dnet_piece {
	bool busy;
	struct sk_buff *skb; /* holds a reference; NULL: copied into a small buffer */
	struct domus_buffer buffer;
};

struct dnet_stats {
	u64 tx_packets, tx_bytes, tx_copied, tx_gso, tx_dropped, tx_linearized, tx_full;
	u64 rx_packets, rx_bytes, rx_copied, rx_gso, rx_dropped, rx_bad, rx_no_memory;
	u64 events, reconnects;
};

/* A pair of rings with one event channel. */
struct dnet_queue {
	struct dnet *dev;
	struct napi_struct napi;
	bool connected;
	bool broken;	   /* the backend broke the rules: never look at the rings again */
	int event_pending; /* not told yet that it is done: the channel is silent until then */
	bool fruitful;	   /* the poll has found something since it last told so */
	evtchn_port_t port;
	unsigned int irq;
	struct dnet_stats stats;

	/* Transmission. Lock: the network layer's lock of this transmit queue. */
	struct xen_netif_tx_front_ring tx;
	grant_ref_t tx_ref;
	struct dnet_piece piece[DNET_TX_SLOTS];
	u16 free[DNET_TX_SLOTS]; /* ids of free pieces */
	unsigned int nr_free;
	grant_ref_t grants; /* head of the list of those for pieces: one for each is there */
	struct domus_buffer small[DNET_SMALL_PAGES]; /* each slot has a part of one */

	/* Reception. Lock: none, only NAPI's poll comes here while it is enabled. */
	struct xen_netif_rx_front_ring rx;
	grant_ref_t rx_ref;
	struct domus_buffer posted[DNET_RX_SLOTS]; /* by place in the ring */
	struct domus_buffer spare[DNET_RX_SLOTS];  /* still granted, to be posted again */
	unsigned int nr_spare;
	struct page_pool *pool;
	struct timer_list refill_timer;
};

/* One card. Locks: front.mutex for the state, then RTNL for what the network layer can see. */
struct dnet {
	struct domus_front front;
	struct net_device *ndev;
	netdev_features_t offers;  /* of the backend */
	unsigned int nr_queues;	   /* that have rings; under RTNL */
	struct dnet_queue queue[]; /* front.max_queues */
};

static inline struct dnet *to_dnet(struct domus_front *front)
{
	return container_of(front, struct dnet, front);
}

/* connect.c */
int dnet_make_rings(struct domus_front *front);
int dnet_write_features(struct domus_front *front, struct xenbus_transaction tx);
int dnet_write_queue(struct domus_front *front, unsigned int number, struct xenbus_transaction tx,
		     const char *folder);
void dnet_disconnect(struct domus_front *front);

/* device.c */
struct dnet *dnet_create(struct xenbus_device *xb);
void dnet_enable(struct dnet *dev);
void dnet_disable(struct dnet *dev);
void dnet_go(struct dnet *dev);

/* transmit.c */
netdev_tx_t dnet_transmit(struct sk_buff *skb, struct net_device *ndev);
bool dnet_tx_clean(struct dnet_queue *queue);
int dnet_tx_start(struct dnet_queue *queue);
void dnet_tx_stop(struct dnet_queue *queue);

/* receive.c */
int dnet_poll(struct napi_struct *napi, int budget);
void dnet_refill(struct dnet_queue *queue);
int dnet_rx_start(struct dnet_queue *queue);
void dnet_rx_stop(struct dnet_queue *queue);

#endif
