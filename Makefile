# Domus' front door. `make help` says what each target does and which settings there are.
# The work is done by CMake (CMakePresets.json), packaging/ and tests/; this file only puts them in order.
SHELL := /bin/bash
.DEFAULT_GOAL := all
.NOTPARALLEL:

HYPERVISOR ?= domus
TOOLS ?= $(if $(filter xen,$(HYPERVISOR)),xen,domus)
ACCEL ?= auto
CPUS ?= 1
MEM ?= 2048
DOM0_MEM ?= 768
KERNEL ?= linux-image-amd64
# Kernels that can be guests only: built without dom0 support (cloud, ours), or hanging as dom0 above Xen, too (rt).
DOM0_KERNEL ?= $(if $(filter patched %-cloud-amd64 %-rt-amd64,$(KERNEL)),linux-image-amd64,$(KERNEL))
CONFIG ?= small
TIMEOUT ?= 600
J ?= $(shell nproc)
FILES ?=
export FILES HYPERVISOR TOOLS ACCEL CPUS MEM DOM0_MEM KERNEL DOM0_KERNEL DEMO TIMEOUT TEST

# A kernel given as a file, or ours, runs with the default package's modules.
package_of = $(if $(filter patched,$(1))$(wildcard $(1)),linux-image-amd64,$(1))
KERNEL_PACKAGE := $(call package_of,$(KERNEL))
KERNEL_IMAGE := $(if $(filter patched,$(KERNEL)),build/guest-kernel/patched-small/vmlinuz,$(if $(wildcard $(KERNEL)),$(KERNEL),build/cache/kernel/$(KERNEL)/vmlinuz))
images = python3 packaging/dom0/build.py --kernel build/cache/kernel/$(call package_of,$(DOM0_KERNEL)) --guest build/cache/kernel/$(KERNEL_PACKAGE) \
	--guest-kernel $(KERNEL_IMAGE) --frontends build/frontends/$(KERNEL_PACKAGE) --product build/product --out build/images

.PHONY: help all packages product check kernel guest-kernel frontends openvswitch xen images run iso test test-long bench bench-explain lint format clean

help: ## this text
	@echo "Domus, a paravirtualizing hypervisor for x86-64. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "Settings, as in \`make run ACCEL=tcg MEM=4096\`:"
	@echo "  HYPERVISOR=domus    domus, xen (Debian's Xen 4.17 in our place), or the path of a multiboot image"
	@echo "  TOOLS=domus         dom0's programs: domus, or xen (Debian's xenstored and xl; default above Xen)"
	@echo "  ACCEL=auto          kvm, tcg, or auto: KVM where the CPU has vmx or svm and /dev/kvm opens, else TCG"
	@echo "  CPUS=1 MEM=2048     processors and memory (MiB) of the machine"
	@echo "  DOM0_MEM=768        memory of dom0 (MiB)"
	@echo "  KERNEL=linux-image-amd64   Debian package of the kernel for dom0 and domU, patched (make guest-kernel), or the path of a kernel image"
	@echo "  DOM0_KERNEL=        dom0's, if it is another (default for cloud, rt and patched kernels: linux-image-amd64)"
	@echo "  CONFIG=small        make guest-kernel: small (PV first, all built in) or debian (Debian's own configuration)"
	@echo "  SERIES=plain        make guest-kernel: without our series, to measure against"
	@echo "  DEMO=1              make run: run the demo and power off even on a terminal (exit status 0: all of it worked); 0: no demo, the shell at once"
	@echo "  FILES=              make run: files and folders of this machine that dom0 then has in /root"
	@echo "  TIMEOUT=600         make run: bound in seconds of a run without terminal"
	@echo "  TEST=pattern        make test: only the system tests whose name contains this (also those not in by default)"
	@echo "  PART=micro ROW=fork COLUMNS=\"native domus\"   make bench: only these (tests/bench/run.py --help)"
	@echo "  J=$(J)                 parallel compiler jobs"

all: product images ## build everything: build/domus.elf, dom0's programs and RAM disk

packages: ## install the Debian packages that are missing (every target does)
	@packaging/install.sh

product: packages
	@mkdir -p build; [ -e build/product/build.ninja ] || cmake --preset product >build/product.log 2>&1 || { cat build/product.log; exit 1; }
	@cmake --build --preset product -j $(J) --target all mini_guests

check: packages
	@mkdir -p build; [ -e build/check/build.ninja ] || cmake --preset check >build/check.log 2>&1 || { cat build/check.log; exit 1; }
	@cmake --build --preset check -j $(J)

kernel: packages ## fetch Debian's stock kernel into build/cache
	@packaging/fetch.sh kernel $(KERNEL_PACKAGE)
	@packaging/fetch.sh kernel $(call package_of,$(DOM0_KERNEL))

guest-kernel: packages ## build the small guest kernel with our series into build/guest-kernel (docs/guest-kernel.md)
	@J=$(J) guest-patches/build.sh $(if $(filter plain,$(SERIES)),--plain) --config $(CONFIG)

openvswitch: packages ## fetch Debian's Open vSwitch into build/cache, for tests
	@packaging/fetch.sh openvswitch

xen: packages
	@packaging/fetch.sh xen

frontends: kernel $(if $(filter patched,$(KERNEL)),guest-kernel) ## our frontends for Linux as modules of that kernel, in build/frontends
	@packaging/fetch.sh headers $(KERNEL_PACKAGE)
	@packaging/frontends.sh $(KERNEL_PACKAGE) $(J)
	@$(if $(filter patched,$(KERNEL)),packaging/frontends.sh patched $(J),:)

images: frontends $(if $(filter domus,$(TOOLS)),product)
	@$(images) --tools $(TOOLS)

run: packages images $(if $(filter xen,$(HYPERVISOR)),xen,product) ## boot it in QEMU and run the demo: a stock kernel as dom0 and as domU
	@python3 packaging/run.py

iso: images product ## build/domus.iso, a bootable disc (GRUB, multiboot 2)
	@packaging/iso.sh build/domus.elf build/domus.iso

test: packages ## every test that fits in half an hour; ends with `N passed, N failed`
	@python3 tests/system/everything.py

test-long: packages ## the same and the long ones
	@python3 tests/system/everything.py --long

bench: xen product images ## the figures of docs/benchmarks.md: native, Xen, Domus in one run
	@$(images) --tools xen
	@nice -n 5 python3 tests/bench/run.py $(addprefix --part ,$(PART)) $(if $(ROW),--row "$(ROW)") $(COLUMNS)

bench-explain: xen product images ## OP="null syscall": where its instructions go (COLUMNS=native: on another column); OP=net WHAT=up: a transfer's
	@nice -n 5 python3 $(if $(filter net,$(OP)),tests/bench/explain_net.py $(if $(WHAT),--what $(WHAT)),tests/bench/explain.py "$(OP)") $(COLUMNS)

lint: packages ## format, clang-tidy on changed files, dependency arrows, file lengths
	@python3 tests/lint/run.py

format: packages
	@git ls-files '*.cpp' '*.hpp' '*.c' '*.h' | xargs clang-format-14 -i

clean: ## remove what was built (downloads in build/cache stay; remove build/ to be rid of all)
	@find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null; true
