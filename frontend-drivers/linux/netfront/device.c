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

static const struct net_device_ops net_ops = {
	.ndo_open = card_open,
	.ndo_stop = card_stop,
	.ndo_start_xmit = dnet_transmit,
	.ndo_fix_features = fix_features,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_get_stats64 = dev_get_tstats64,
};

static const struct ethtool_ops tool_ops = {
	.get_link = ethtool_op_get_link,
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
	unsigned int queues = min3(max_queues ?: min(num_online_cpus(), 8U), num_possible_cpus(),
				   DNET_MAX_QUEUES);
	void __percpu *stats = devm_netdev_alloc_pcpu_stats(&xb->dev, struct pcpu_sw_netstats);
	unsigned int mtu, i;
	struct net_device *ndev;
	struct dnet *dev;

	ndev = stats ? alloc_etherdev_mq(struct_size(dev, queue, queues), queues) : NULL;
	if (!ndev)
		return NULL;
	ndev->tstats = stats;
	dev = netdev_priv(ndev);
	dev->ndev = ndev;
	dev->front.max_queues = queues;
	for (i = 0; i < queues; i++) {
		dev->queue[i].dev = dev;
		netif_napi_add(ndev, &dev->queue[i].napi, dnet_poll);
	}
	ndev->netdev_ops = &net_ops;
	ndev->ethtool_ops = &tool_ops;
	ndev->hw_features = FEATURES;
	ndev->features = FEATURES | NETIF_F_RXCSUM;
	ndev->min_mtu = ETH_MIN_MTU;
	ndev->max_mtu = DNET_MAX_MTU;
	netif_set_tso_max_size(ndev, DNET_MAX_MTU);
	SET_NETDEV_DEV(ndev, &xb->dev);
	read_mac(ndev, xb);
	mtu = xenbus_read_unsigned(xb->nodename, "mtu", ETH_DATA_LEN);
	ndev->mtu = clamp_t(unsigned int, mtu, ndev->min_mtu, ndev->max_mtu);
	netif_carrier_off(ndev);
	return dev;
}
