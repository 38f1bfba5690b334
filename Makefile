# dlcache: make, make check, make demo, make install. Everything is built below $(BUILD); V=1 shows the commands.
# Sanitizers: make SAN=address,undefined check (a build folder of their own; no clean needed).
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib/dlcache
LIBEXECDIR ?= $(PREFIX)/libexec/dlcache
MANDIR ?= $(PREFIX)/share/man
SHAREDIR ?= $(PREFIX)/share/dlcache
DESTDIR ?=

comma := ,
SAN ?=
BUILD ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
MPICC ?= mpicc.mpich
MPIEXEC ?= $(patsubst mpicc%,mpiexec%,$(notdir $(MPICC)))
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
WERROR ?= -Werror

VERSION := 0.1.0
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-6s %s\n')

# --- flags -----------------------------------------------------------------------------------------------------
base := -std=gnu11 -D_GNU_SOURCE -DDLCACHE_VERSION='"$(VERSION)"' -I. -Wall -Wextra $(WERROR) -Wshadow \
	-Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -fvisibility=hidden -MMD -MP
san := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
# A preloaded library cannot bring a sanitizer's runtime with it: there undefined behaviour traps.
san_trap := $(if $(findstring undefined,$(SAN)),-fsanitize=undefined -fsanitize-undefined-trap-on-error -fno-sanitize=alignment)
deps := jansson libxxhash
# libarchive is loaded when a bundle is read: only its headers are needed.
dep_cflags = $(shell $(PKG_CONFIG) --cflags $(deps) libarchive)
dep_libs = $(shell $(PKG_CONFIG) --libs $(deps))
# Every node of a job starts the stager at once: what can be a part of it is not looked for.
static = $(if $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))
own_libs = $(filter -L%,$(dep_libs)) $(call static,jansson) $(call static,xxhash)

# Three ways to compile: for our own programs; for the preloaded library; for what has no C library at all.
host_cflags = $(base) $(san) $(dep_cflags)
shim_cflags = $(base) $(san_trap) -fPIC -ftls-model=initial-exec -fno-stack-protector \
	-fno-delete-null-pointer-checks -Wno-vla
bare_cflags = $(base) $(san_trap) -fPIC -ffreestanding -fno-stack-protector -fno-builtin -DDLCACHE_BARE \
	-fno-asynchronous-unwind-tables -U_FORTIFY_SOURCE

# --- what is made of what --------------------------------------------------------------------------------------
core := $(wildcard libdlcache/*.c)
shim := $(core) $(wildcard libdlcache/loader/*.c libdlcache/shim/*.c) recorder/note.c
audit := $(core) $(wildcard libdlcache/loader/*.c libdlcache/audit/*.c) $(wildcard libdlcache/bare/*.c) recorder/note.c
run := $(core) $(wildcard libdlcache/bare/*.c) $(wildcard replayer/launch/*.c)
common := $(core) $(wildcard facts/*.c) $(wildcard manifests/*.c)
stage := $(common) $(wildcard replayer/attach/*.c) $(wildcard replayer/image/*.c) $(wildcard replayer/stage/*.c)
onestep := $(filter-out %/stager.c %/options.c,$(stage)) $(wildcard replayer/onestep/*.c)
carrier := replayer/stage/mpi.c
command := $(common) $(wildcard manifests/report/*.c cli/*.c) $(wildcard replayer/attach/*.c) $(wildcard replayer/start/*.c) \
	$(wildcard replayer/image/*.c replayer/replay/*.c) $(filter-out recorder/note.c,$(wildcard recorder/*.c))
check := $(filter-out cli/main.c,$(command)) recorder/note.c replayer/stage/copy.c replayer/stage/team.c \
	$(wildcard test/check/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/$(1)/%.o,$(2))
products := $(addprefix $(BUILD)/,libdlcache.so libdlcache-audit.so dlcache-run dlcache dlcache-stage dlcache-mpi.so)
# Staging inside the program itself wants MPI's sessions.
mpi_version := $(shell printf '\043include <mpi.h>\nMPI_VERSION\n' | $(MPICC) -E -P -x c - 2>/dev/null | tail -n 1)
has_sessions := $(filter-out 0 1 2 3,$(mpi_version))
products += $(if $(has_sessions),$(BUILD)/libdlcache-onestep.so)

.PHONY: all
all: $(products)

# Objects depend on the flags that they were made with.
stamp = $(BUILD)/obj/$(1)/flags
$(BUILD)/obj/%/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(MPICC) $($*_cflags) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(MPICC) $($*_cflags) $(CFLAGS)' >$@
.PRECIOUS: $(BUILD)/obj/%/flags
.PHONY: FORCE
FORCE:

pic_cflags = $(base) $(san_trap) $(dep_cflags) -fPIC
# How `dlcache stage` starts itself: the command, and whose options it has (only Open MPI's compiler knows --showme).
$(BUILD)/obj/host/replayer/start/start.o: CPPFLAGS += -DDLCACHE_MPIEXEC='"$(MPIEXEC)"' \
	-DOPEN_MPI=$(if $(shell $(MPICC) --showme:version 2>/dev/null),1,0)
define compile
$$(BUILD)/obj/$(1)/%.o: %.c $$(BUILD)/obj/$(1)/flags
	$$(say) $(2) $$<
	@mkdir -p $$(@D)
	$$(Q)$$($(2)) $$($(1)_cflags) $$(CPPFLAGS) $$(CFLAGS) -c $$< -o $$@
endef
wide := $(if $(filter x86_64-%,$(shell $(CC) -dumpmachine)),-mavx2)
$(BUILD)/obj/%/replayer/image/digest_wide.o: CPPFLAGS += $(wide)
$(eval $(call compile,host,CC))
$(eval $(call compile,shim,CC))
$(eval $(call compile,bare,CC))
$(eval $(call compile,pic,MPICC))

# What the report's page is made of is part of the command.
$(BUILD)/obj/host/manifests/report/page.o: $(wildcard $(addprefix manifests/report/*.,html css js))

# Every program that is attached maps these, again and again: two segments rather than four (what is read and what is run
# together), and no page to protect after relocation. What is written at the start of every process lies in one place,
# before the large tables (.bss.large).
small := -Wl,-z,now -Wl,-z,norelro -Wl,-z,noseparate-code -Wl,--hash-style=gnu -Wl,--sort-section=name
# What each node reads from the file system that it lies on: fewer pieces are fewer requests.
compact := -Wl,-z,noseparate-code

$(BUILD)/libdlcache.so: $(call obj,shim,$(shim))
	$(say) LD $@
	$(Q)$(CC) -shared $(small) -Wl,-z,defs -Wl,-e,shim_handover -Wl,-soname,libdlcache.so $(LDFLAGS) $^ -o $@ -ldl

$(BUILD)/libdlcache-audit.so: $(call obj,bare,$(audit))
	$(say) LD $@
	$(Q)$(CC) -shared -nostdlib $(small) -Wl,-z,defs -Wl,-soname,libdlcache-audit.so $(LDFLAGS) -Wl,-z,lazy $^ -o $@

$(BUILD)/dlcache-run: $(call obj,bare,$(run))
	$(say) LD $@
	$(Q)$(CC) -static -no-pie -nostdlib $(small) $(LDFLAGS) $^ -o $@

$(BUILD)/dlcache: $(call obj,host,$(command))
	$(say) LD $@
	$(Q)$(CC) $(san) -pthread $(compact) $(LDFLAGS) $^ $(own_libs) -ldl -o $@

$(BUILD)/dlcache-stage: $(call obj,host,$(filter-out $(carrier),$(stage)))
	$(say) LD $@
	$(Q)$(CC) $(san) -pthread -Wl,-z,now $(compact) $(LDFLAGS) $^ $(own_libs) -ldl -o $@

# MPI, which the stager loads where it has to.
$(BUILD)/dlcache-mpi.so: $(call obj,pic,$(carrier))
	$(say) LD $@
	$(Q)$(MPICC) -shared -Wl,-z,defs -Wl,-z,now $(compact) -Wl,-soname,dlcache-mpi.so $(LDFLAGS) $^ -o $@

$(BUILD)/libdlcache-onestep.so: $(call obj,pic,$(onestep))
	$(say) LD $@
	$(Q)$(MPICC) -shared -pthread -Wl,-z,defs -Wl,-z,lazy -Wl,-soname,libdlcache-onestep.so $(LDFLAGS) $^ $(dep_libs) -o $@ -ldl

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# --- packages --------------------------------------------------------------------------------------------------
.PHONY: packages
packages:
	$(Q)test/packages.sh

# --- tests -----------------------------------------------------------------------------------------------------
include test/test.mk

# --- install ---------------------------------------------------------------------------------------------------
.PHONY: install uninstall clean
install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR) $(LIBEXECDIR) $(MANDIR)/man1 $(SHAREDIR))
	install -m 755 $(BUILD)/dlcache $(DESTDIR)$(BINDIR)/dlcache
	install -m 755 $(BUILD)/dlcache-stage $(BUILD)/dlcache-run $(BUILD)/dlcache-mpi.so $(DESTDIR)$(LIBEXECDIR)/
	install -m 755 $(filter %.so,$(filter-out %/dlcache-mpi.so,$(products))) $(DESTDIR)$(LIBDIR)/
	install -m 644 doc/dlcache.1 $(DESTDIR)$(MANDIR)/man1/dlcache.1
	install -m 644 manifests/manifest.schema.json libdlcache/dlcache.supp $(DESTDIR)$(SHAREDIR)/

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/dlcache $(DESTDIR)$(MANDIR)/man1/dlcache.1
	rm -rf $(DESTDIR)$(LIBDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(SHAREDIR)

clean:
	rm -rf build build-*
