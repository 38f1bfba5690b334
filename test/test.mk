# Tests, for the Makefile. `make check` installs what it needs and never skips quietly; its last line is the count.

progs := $(patsubst test/progs/%.c,$(BUILD)/progs/%,$(wildcard test/progs/*.c))

$(BUILD)/progs/%: test/progs/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O1 -g -pthread $< -o $@ -ldl

$(BUILD)/progs/differ: test/progs/differ-write.h test/progs/differ-race.h

# A shared file system's server by FUSE, for tests and benchmarks (bench/README.md).
fuse_cflags = $(base) $(san) -D_FILE_OFFSET_BITS=64 $(shell $(PKG_CONFIG) --cflags fuse3)
$(eval $(call compile,fuse,CC))
$(BUILD)/slowfs: $(call obj,fuse,$(wildcard bench/slowfs/*.c))
	$(say) LD $@
	$(Q)$(CC) $(san) -pthread $(LDFLAGS) $^ $(shell $(PKG_CONFIG) --libs fuse3) -o $@

.PHONY: check-progs
check-progs: $(progs) $(BUILD)/slowfs $(addprefix $(BUILD)/bench/,timed copy bcast)

check_libs = $(shell $(PKG_CONFIG) --libs check)
$(BUILD)/check-units: $(call obj,host,$(check))
	$(say) LD $@
	$(Q)$(CC) $(san) -pthread $(LDFLAGS) $^ $(dep_libs) $(check_libs) -ldl -o $@

.PHONY: check check-long check-units check-e2e demo bench-loader bench-micro
check: test-packages
	+$(Q)BUILD=$(BUILD) MAKE="$(MAKE)" test/run.sh $(BUILD)

# What takes long, and is not part of `make check`.
check-long:
	$(Q)test/packages.sh long
	+$(Q)$(MAKE) --no-print-directory all check-progs
	+$(Q)BUILD=$(BUILD) MAKE="$(MAKE)" test/long.sh $(BUILD)

.PHONY: test-packages
test-packages:
	$(Q)test/packages.sh test

check-units: $(BUILD)/check-units
	$(Q)$(BUILD)/check-units

check-e2e: all check-progs
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B test/e2e/harness.py

bench_stage := $(addprefix $(BUILD)/bench/,timed copy bcast)
$(BUILD)/bench/%: bench/stage/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(MPICC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O2 -g $< -o $@

.PHONY: bench-stage
bench-stage: all $(bench_stage)
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B bench/stage/run.py $(BENCH)

demo: packages
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) bench/demo.sh

# What attaching costs and saves at the start of programs. BENCH="-n 51 -o FILE 300-79": its options (bench/README.md).
bench-loader: test-packages
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B bench/loader.py $(BENCH)

# What single calls cost, served and by the kernel. BENCH="-n 51 -o FILE": its options.
bench-micro: test-packages
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B bench/micro/micro.py $(BENCH)

# Everything side by side, in a quarter of an hour, as root; the README's numbers. BENCH="--rounds 5": its options.
.PHONY: bench
bench:
	$(Q)test/packages.sh bench
	+$(Q)$(MAKE) --no-print-directory all $(BUILD)/slowfs $(bench_stage)
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B bench/run.py $(BENCH)
	$(Q)/usr/bin/python3 -B bench/readme.py
