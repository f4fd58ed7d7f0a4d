// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the network layer and the user see of a card: open and close, features, MAC and MTU,
 * statistics. Called by the network layer under RTNL, and by connect.c.
 */
#include <linux/ethtool.h>
#include <linux/module.h>

#include "netfront.h"

static unsigned int max_queues;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of a card at most (0: one for each CPU, up to 8)");

#define FEATURES (NETIF_F_SG | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | NETIF_F_TSO | NETIF_F_TSO6)

/* Lets packets flow, and has every queue looked at for what came while nobody looked. */
void dnet_go(struct dnet *dev)
{
	unsigned int i;

	if (!netif_running(dev->ndev) || !netif_carrier_ok(dev->ndev))
		return;
	netif_tx_wake_all_queues(dev->ndev);
	local_bh_disable();
	for (i = 0; i < dev->nr_queues; i++)
		napi_schedule(&dev->queue[i].napi);
	local_bh_enable();
}

void dnet_enable(struct dnet *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		napi_enable(&dev->queue[i].napi);
}

void dnet_disable(struct dnet *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		napi_disable(&dev->queue[i].napi);
	/* After the poll, which would wake them; waits for transmissions under way. */
	netif_tx_disable(dev->ndev);
}

static int card_open(struct net_device *ndev)
{
	dnet_enable(netdev_priv(ndev));
	dnet_go(netdev_priv(ndev));
	return 0;
}

static int card_stop(struct net_device *ndev)
{
	dnet_disable(netdev_priv(ndev));
	return 0;
}

static netdev_features_t fix_features(struct net_device *ndev, netdev_features_t wanted)
{
	struct dnet *dev = netdev_priv(ndev);

	return wanted & (~FEATURES | dev->offers);
}

static int change_mtu(struct net_device *ndev, int mtu)
{
	struct dnet *dev = netdev_priv(ndev);

	if (mtu > ETH_DATA_LEN && !(dev->offers & NETIF_F_SG))
		return -EINVAL;
	ndev->mtu = mtu;
	return 0;
}

static void get_stats64(struct net_device *ndev, struct rtnl_link_stats64 *sum)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int i;

	for (i = 0; i < dev->front.max_queues; i++) {
		const struct dnet_stats *stats = &dev->queue[i].stats;

		sum->tx_packets += READ_ONCE(stats->tx_packets);
		sum->tx_bytes += READ_ONCE(stats->tx_bytes);
		sum->tx_dropped += READ_ONCE(stats->tx_dropped);
		sum->rx_packets += READ_ONCE(stats->rx_packets);
		sum->rx_bytes += READ_ONCE(stats->rx_bytes);
		sum->rx_dropped += READ_ONCE(stats->rx_dropped) + READ_ONCE(stats->rx_no_memory);
		sum->rx_errors += READ_ONCE(stats->rx_bad);
	}
}

static const struct net_device_ops net_ops = {
	.ndo_open = card_open,
	.ndo_stop = card_stop,
	.ndo_start_xmit = dnet_transmit,
	.ndo_fix_features = fix_features,
	.ndo_change_mtu = change_mtu,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_get_stats64 = get_stats64,
};

/* In the order of struct dnet_stats. */
static const char stat_names[][20] = {
	"tx_packets", "tx_bytes",     "tx_copied", "tx_gso",	 "tx_dropped", "tx_linearized",
	"tx_full",    "rx_packets",   "rx_bytes",  "rx_copied",	 "rx_gso",     "rx_dropped",
	"rx_bad",     "rx_no_memory", "events",	   "reconnects",
};

static_assert(ARRAY_SIZE(stat_names) == sizeof(struct dnet_stats) / sizeof(u64));

static int get_sset_count(struct net_device *ndev, int set)
{
	struct dnet *dev = netdev_priv(ndev);

	return set == ETH_SS_STATS ? dev->front.max_queues * ARRAY_SIZE(stat_names) : -EOPNOTSUPP;
}

static void get_strings(struct net_device *ndev, u32 set, u8 *data)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int i, k;

	for (i = 0; set == ETH_SS_STATS && i < dev->front.max_queues; i++) {
		for (k = 0; k < ARRAY_SIZE(stat_names); k++)
			ethtool_sprintf(&data, "queue%u_%s", i, stat_names[k]);
	}
}

static void get_ethtool_stats(struct net_device *ndev, struct ethtool_stats *what, u64 *data)
{
	struct dnet *dev = netdev_priv(ndev);
	unsigned int i;

	for (i = 0; i < dev->front.max_queues; i++) {
		memcpy(data, &dev->queue[i].stats, sizeof(struct dnet_stats));
		data += ARRAY_SIZE(stat_names);
	}
}

static const struct ethtool_ops tool_ops = {
	.get_link = ethtool_op_get_link,
	.get_sset_count = get_sset_count,
	.get_strings = get_strings,
	.get_ethtool_stats = get_ethtool_stats,
};

static void read_mac(struct net_device *ndev, struct xenbus_device *xb)
{
	char *text = xenbus_read(XBT_NIL, xb->nodename, "mac", NULL);
	u8 mac[ETH_ALEN];

	if (!IS_ERR(text) && mac_pton(text, mac) && is_valid_ether_addr(mac))
		eth_hw_addr_set(ndev, mac);
	else
		eth_hw_addr_random(ndev);
	if (!IS_ERR(text))
		kfree(text);
}

/* A card that nobody sees yet: it is registered when a backend is there. */
struct dnet *dnet_create(struct xenbus_device *xb)
{
	unsigned int queues = min(max_queues ?: min(num_online_cpus(), 8U), num_possible_cpus());
	unsigned int mtu, i;
	struct net_device *ndev;
	struct dnet *dev;

	ndev = alloc_etherdev_mq(struct_size(dev, queue, queues), queues);
	if (!ndev)
		return NULL;
	dev = netdev_priv(ndev);
	dev->ndev = ndev;
	dev->front.max_queues = queues;
	for (i = 0; i < queues; i++) {
		dev->queue[i].dev = dev;
		dev->queue[i].grants = INVALID_GRANT_REF;
		netif_napi_add(ndev, &dev->queue[i].napi, dnet_poll);
	}
	ndev->netdev_ops = &net_ops;
	ndev->ethtool_ops = &tool_ops;
	ndev->hw_features = FEATURES;
	ndev->features = FEATURES | NETIF_F_RXCSUM;
	ndev->min_mtu = ETH_MIN_MTU;
	ndev->max_mtu = XEN_NETIF_MAX_TX_SIZE - ETH_HLEN;
	netif_set_tso_max_size(ndev, XEN_NETIF_MAX_TX_SIZE - ETH_HLEN);
	SET_NETDEV_DEV(ndev, &xb->dev);
	read_mac(ndev, xb);
	mtu = xenbus_read_unsigned(xb->nodename, "mtu", ETH_DATA_LEN);
	ndev->mtu = clamp_t(unsigned int, mtu, ndev->min_mtu, ndev->max_mtu);
	netif_carrier_off(ndev);
	return dev;
}
