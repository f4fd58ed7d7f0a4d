"""What people and scripts read: list, info, dmesg, perf, and --json of each."""
import json
import re

from harness.runner import only


def test_list_has_xls_columns(dom0):
    rows = dom0.tool("list").splitlines()
    assert rows[0].split() == ["Name", "ID", "Mem", "VCPUs", "State", "Time(s)"], rows[0]
    dom0_row = rows[1].split()
    assert dom0_row[:2] == ["Domain-0", "0"] and re.fullmatch("[rbpscd-]{6}", dom0_row[4]), rows[1]
    assert float(dom0_row[5]) > 0


def test_info_counts_memory(dom0):
    info = dict(re.split(r"\s*: ?", line, maxsplit=1) for line in dom0.tool("info").splitlines() if ":" in line)
    assert int(info["total_memory"]) in range(dom0.settings.mem - 64, dom0.settings.mem + 1), info
    assert 0 < int(info["free_memory"]) < int(info["total_memory"])
    assert int(info["nr_cpus"]) == dom0.settings.cpus


@only(tools="domus")
def test_json_of_every_reading_verb(dom0):
    dom0.guest("json", disk=[f"{dom0.disk('/tmp/json.disk', 4)},raw,xvda,rw,backendtype=linux"],
               vif=["bridge=xenbr0,backendtype=linux"])
    domid = dom0.domid("json")
    domains = json.loads(dom0.tool("list --json"))["domains"]
    assert {d["name"]: d["domid"] for d in domains} == {"Domain-0": 0, "json": domid}, domains
    assert json.loads(dom0.tool("info --json"))["xen_major"] == 4
    assert json.loads(dom0.tool("block-list --json json"))["devices"][0]["vdev"] == "xvda"
    assert json.loads(dom0.tool("network-list --json json"))["devices"][0]["mac"].startswith("00:16:3e:")
    # Linux's backends: what can be known, and a word about the rest.
    disk = json.loads(dom0.tool("ring json xvda --json"))
    assert disk["kind"] == "vbd" and "reads" in {f["name"] for f in disk["figures"]} and "xen-blkback" in disk["missing"], disk
    card = dom0.tool("ring json vif0")
    assert "tx_packets" in card and "Not known: served by dom0's kernel (xen-netback)" in card, card
    assert len(json.loads(dom0.tool("device-stats --json"))["devices"]) == 2
    assert "it has xvda, vif0" in dom0.refused("domus ring json vif7")
    assert json.loads(dom0.tool("config-check --json /tmp/json.cfg"))["config"]["name"] == "json"
    dom0.tool("destroy json")
    dom0.wait_gone("json")


def test_dmesg_shows_the_hypervisors_log(dom0):
    # The console was asked to be quiet (loglvl=warning); the log is whole all the same.
    log = "\n".join(dom0.log())
    assert "Domus " in log and "MiB of memory free" in log and "dom0: " in log, log


@only(hypervisor="domus")
def test_slow_byte_moves_are_kept_from_guests(dom0):
    # Measured, or forced by an option (erms=): the log says which, once.
    said = [m.groups() for m in (re.search(r"byte moves \((.*?)\) are (kept from|shown to) guests", line)
                                 for line in dom0.log()) if m]
    assert len(said) == 1, f"the hypervisor's log about byte moves: {said}"
    why, decision = said[0]
    seen = dom0.ok("grep -c -w erms /proc/cpuinfo; true").strip() != "0"
    assert seen == (decision == "shown to"), f"byte moves ({why}) are {decision} guests; dom0's kernel sees them: {seen}"


@only(tools="domus", hypervisor="domus")
def test_perf_counts_hypercalls(dom0):
    def counters(options=""):
        return {c["name"]: sum(int(v) for v in c["values"]) for c in json.loads(dom0.tool(f"perf --json {options}"))["counters"]}

    before = counters()
    dom0.ok("xenstore-ls / >/dev/null")
    after = counters()
    assert any(after[name] > before.get(name, 0) for name in after), after
    assert all(after[name] >= value for name, value in before.items()), "a counter went backwards"
    assert counters("Domain-0"), "no counters for dom0"


def test_unknown_verb_and_options_are_refused(dom0):
    dom0.refused(f"{dom0.tool_name} no-such-verb")
    dom0.refused(f"{dom0.tool_name} list --no-such-option")
