#!/bin/bash
# Runs mini guests as dom0 in QEMU, one line per guest. usage: run.sh [HYPERVISOR] [GUEST...]
# HYPERVISOR: default build/domus.elf; "xen" is the reference (make xen). GUEST: names without .elf,
# default all. env: VERBOSE=1 shows every line, T (seconds per guest, default 60), ACCEL (as for make run), XOPT.
# Exit status: 0 when every guest ended with "0 failed".
cd "$(dirname "$0")/../.." || exit 2
hypervisor=${1:-build/domus.elf}
[ $# -gt 0 ] && shift
[ "$hypervisor" = xen ] && hypervisor=build/cache/xen/xen.elf
# The processor is chosen in one place: "auto" is our word, not QEMU's.
processor=$(python3 -c 'import os, sys
sys.path.insert(0, "packaging")
import qemu
print(*qemu.accelerator(os.environ.get("ACCEL") or "auto"))') || exit 2
guests=("$@")
if [ ${#guests[@]} = 0 ]; then
    for file in tests/guests/*.cpp; do guests+=("$(basename "$file" .cpp)"); done
fi
# Guests that must be ended by the hypervisor, once for each of these.
variants=(iret-{hypervisor,below,non-canonical,unmapped,null,end,edge}
    {syscall,fault}-{hypervisor,below,non-canonical,unmapped,null,read-only,edge})
guests=(${guests[@]/#wild/${variants[*]/#/wild:}})
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
for guest in "${guests[@]}"; do
    : >"$log" # what the last guest said must not end this one
    start=$(date +%s%N)
    timeout -k 2 "${T:-60}" qemu-system-x86_64 $processor -m 512 -no-reboot -nographic \
        -kernel "$hypervisor" -initrd "build/guests/${guest%%:*}.elf $guest" \
        -append "dom0_mem=64M dom0_max_vcpus=2 com1=115200,8n1 console=com1 loglvl=warning noreboot=0 $XOPT" \
        </dev/null >"$log" 2>&1 &
    machine=$!
    # A hypervisor without ACPI only halts at a poweroff, so the machine is switched off when the guest has ended.
    while kill -0 $machine 2>/dev/null; do
        grep -qaE 'GUEST DONE|guest dies|dom0 has shut down|Panic on CPU|panic:' "$log" && sleep 0.5 && kill $machine 2>/dev/null
        sleep 0.2
    done
    wait $machine
    code=$?
    taken=$((($(date +%s%N) - start) / 1000000))
    [ -n "$VERBOSE" ] && cat "$log"
    if [ "${guest%%:*}" = wild ]; then
        grep -qaE 'd0 crashed: (iret hypercall|a system call cannot be delivered|an exception cannot be delivered): ' "$log" &&
            ! grep -qaE 'FAIL |PANIC' "$log" && echo 'GUEST DONE 1 passed, 0 failed' >>"$log"
    fi
    done_line=$(grep -ao 'GUEST DONE .*' "$log" | tr -d '\r' | head -1)
    printf '%-26s %6d ms  %s\n' "$guest" "$taken" "${done_line:-no end (exit status $code)}"
    case "$done_line" in
    *' 0 failed') ;;
    *)
        status=1
        if [ -z "$VERBOSE" ]; then
            grep -a 'FAIL ' "$log" || tail -20 "$log"
        fi
        ;;
    esac
done
exit $status
