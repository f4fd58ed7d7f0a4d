/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of domus-netfront share: a card and its queues, each a pair of rings.
 *
 * main.c      the card on the bus: from probe to unplug; module
 * connect.c   rings and event channels: made, published, torn down
 * control.c   which pages a backend may keep mapped
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
#include <net/page_pool.h>
#include <xen/interface/io/netif.h>

#include "../common.h"

#define DNET_TX_SLOTS __CONST_RING_SIZE(xen_netif_tx, XEN_PAGE_SIZE)
#define DNET_RX_SLOTS __CONST_RING_SIZE(xen_netif_rx, XEN_PAGE_SIZE)

/* Received packets up to this size, and the headers of others, have room in the linear part. */
#define DNET_SMALL 256

#define DNET_MAX_MTU (XEN_NETIF_MAX_TX_SIZE - ETH_HLEN)
#define DNET_MAX_QUEUES (XENBUS_MAX_RING_GRANTS - 1)

/* Most messages one packet can need: its pieces, and one for what segmentation needs to know. */
#define DNET_PACKET_SLOTS (XEN_NETIF_NR_SLOTS_MIN + 1)

/* A pair of rings with one event channel. */
struct dnet_queue {
	struct dnet *dev;
	struct napi_struct napi;
	bool broken;	   /* the backend broke the rules: never look at the rings again */
	int event_pending; /* not told yet that it is done: the channel is silent until then */
	bool fruitful;	   /* the poll has found something since it last told so */
	evtchn_port_t port;
	unsigned int irq; /* 0: there is no connection */

	/* Transmission. Lock: the network layer's lock of this transmit queue. */
	struct xen_netif_tx_front_ring tx;
	grant_ref_t tx_ref;
	struct domus_buffer tx_pages[DNET_TX_SLOTS]; /* by the request's id */
	bool busy[DNET_TX_SLOTS];		     /* the request has no answer yet */
	u16 free[DNET_TX_SLOTS];		     /* ids of the others */
	unsigned int nr_free;

	/* Reception. Lock: none, only NAPI's poll comes here while it is enabled. */
	struct xen_netif_rx_front_ring rx;
	grant_ref_t rx_ref;
	struct domus_buffer rx_pages[DNET_RX_SLOTS]; /* by place in the ring */
	struct page_pool *pool;			     /* of what large packets are copied to */
};

/* Behind the ring lies a page for each queue's list. */
struct dnet_control {
	struct xen_netif_ctrl_front_ring ring;
	grant_ref_t refs[1 + DNET_MAX_QUEUES];
	evtchn_port_t port;
	unsigned int irq; /* 0: there is no control ring */
};

/* One card. Locks: front.mutex for the state, then RTNL for what the network layer can see. */
struct dnet {
	struct domus_front front;
	struct net_device *ndev;
	netdev_features_t offers; /* of the backend */
	unsigned int nr_queues;	  /* that have rings; under RTNL */
	struct dnet_control control;
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
void dnet_release(struct dnet *dev);

/* control.c */
int dnet_control_start(struct dnet *dev);
void dnet_control_stop(struct dnet *dev);

/* device.c */
struct dnet *dnet_create(struct xenbus_device *xb);
void dnet_enable(struct dnet *dev);
void dnet_disable(struct dnet *dev);
void dnet_go(struct dnet *dev);

/* transmit.c */
netdev_tx_t dnet_transmit(struct sk_buff *skb, struct net_device *ndev);
bool dnet_tx_clean(struct dnet_queue *queue);
void dnet_tx_start(struct dnet_queue *queue);

/* receive.c */
int dnet_poll(struct napi_struct *napi, int budget);
void dnet_post(struct dnet_queue *queue);
int dnet_rx_start(struct dnet_queue *queue);
void dnet_rx_stop(struct dnet_queue *queue);

#endif
