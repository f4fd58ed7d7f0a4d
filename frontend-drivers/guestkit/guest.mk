# How a guest outside this tree is built: `include $(KIT)/guest.mk`, then `NAME.elf: main.o more.o`. Needs g++ 12 or
# newer, make, and Xen's headers (libxen-dev). Flags as in cmake/DomusFlags.cmake and guestkit's CMakeLists.txt.
KIT_DIR := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
CXX := g++
KIT_CXXFLAGS := -std=gnu++20 -O2 -g -Wall -Wextra -Wno-missing-field-initializers -Wno-address-of-packed-member \
	-ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -mcmodel=kernel -fno-pie -fno-pic \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fvisibility=hidden \
	-ffunction-sections -fdata-sections -fno-omit-frame-pointer \
	-fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-use-cxa-atexit -I$(KIT_DIR)/include
KIT_LDFLAGS := -nostdlib -static -no-pie -Wl,--gc-sections -Wl,--build-id=none -Wl,-T,$(KIT_DIR)/guest.ld \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments

%.o: %.cpp
	$(CXX) $(KIT_CXXFLAGS) $(CXXFLAGS) -MMD -MF $(@:.o=.d) -c $< -o $@

%.elf: $(KIT_DIR)/libguestkit.a $(KIT_DIR)/guest.ld
	$(CXX) $(KIT_LDFLAGS) $(filter %.o,$^) $(KIT_DIR)/start.S.o $(KIT_DIR)/entry.S.o $(KIT_DIR)/libguestkit.a -o $@
	strip --strip-debug $@

-include $(wildcard *.d)
