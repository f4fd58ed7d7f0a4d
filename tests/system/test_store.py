"""Debian's xenstore tools, unmodified, against the store; and the store's limits as dom0 sees them."""


def test_write_read_list_remove(dom0):
    dom0.ok("xenstore-write /local/domain/0/test/a one /local/domain/0/test/b/c 'two words'")
    assert dom0.ok("xenstore-read /local/domain/0/test/a").strip() == "one"
    assert dom0.ok("xenstore-read /local/domain/0/test/b/c").strip() == "two words"
    assert dom0.ok("xenstore-list /local/domain/0/test").split() == ["a", "b"]
    assert 'c = "two words"' in dom0.ok("xenstore-ls /local/domain/0/test")
    dom0.ok("xenstore-exists /local/domain/0/test/b/c")
    dom0.ok("xenstore-rm /local/domain/0/test")
    dom0.refused("xenstore-read /local/domain/0/test/a")
    dom0.refused("xenstore-exists /local/domain/0/test")


def test_permissions_by_chmod(dom0):
    dom0.guest("reader")  # permissions of domains that do not exist are not kept
    domid = dom0.domid("reader")
    dom0.ok("xenstore-write /local/domain/0/perm x")
    dom0.ok(f"xenstore-chmod /local/domain/0/perm n0 r{domid}")
    assert f"(n0,r{domid})" in dom0.ok("xenstore-ls -p /local/domain/0 | grep perm")
    dom0.refused("xenstore-chmod /local/domain/0/perm q0")
    dom0.ok("xenstore-rm /local/domain/0/perm")
    dom0.tool("destroy reader")
    dom0.wait_gone("reader")


def test_watch_fires_for_node_and_children(dom0):
    # The first event comes with the registration. In a subshell: a child that ends would interrupt the shell's reading.
    dom0.ok("rm -f /tmp/seen; (xenstore-watch -n 3 /watched >/tmp/seen & echo $! >/tmp/watcher)")
    dom0.until("grep -q . /tmp/seen", 20)
    dom0.ok("xenstore-write /watched/child 1")
    dom0.until("[ $(wc -l </tmp/seen) -ge 2 ]", 20)
    dom0.ok("xenstore-rm /watched")
    dom0.until("! kill -0 $(cat /tmp/watcher)", 20)
    seen = dom0.ok("cat /tmp/seen").split()
    assert seen[0] == "/watched" and "/watched/child" in seen[1:], seen


def test_long_directory_is_listed_whole(dom0):
    # More names than fit one reply of 4096 bytes: the client has to ask for parts.
    dom0.ok("n=0; while [ $n -lt 300 ]; do xenstore-write /many/entry-with-a-long-name-$n x; n=$((n+1)); done", 300)
    assert len(dom0.ok("xenstore-list /many").split()) == 300
    dom0.ok("xenstore-rm /many")


def test_bad_paths_are_refused(dom0):
    for path in ("'/bad path'", "//double", "/trailing/", "''", "/" + "x" * 3100):
        dom0.refused(f"xenstore-write {path} x")
    dom0.ok("xenstore-list /")


def test_a_guest_writes_only_its_own(dom0):
    dom0.guest("small")
    dom0.wait_guest("small")
    domid = dom0.domid("small")
    listing = dom0.ok(f"xenstore-ls -p /local/domain/{domid}")
    assert f'name = "small"' in listing
    # A guest may write below device/ and control/shutdown, and nothing of its name or of what the toolstack keeps.
    name = next(line for line in listing.splitlines() if line.startswith("name = "))
    assert f"(n0,r{domid})" in name, name
    dom0.tool("destroy small")
    dom0.wait_gone("small")
    dom0.refused(f"xenstore-exists /local/domain/{domid}")
