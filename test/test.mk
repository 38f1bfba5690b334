# Tests, for the Makefile. `make check` installs what it needs and never skips quietly; its last line is the count.

progs := $(patsubst test/progs/%.c,$(BUILD)/progs/%,$(wildcard test/progs/*.c))

$(BUILD)/progs/%: test/progs/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O1 -g -pthread $< -o $@ -ldl

.PHONY: check-progs
check-progs: $(progs)

check_libs = $(shell $(PKG_CONFIG) --libs check)
$(BUILD)/check-units: $(call obj,host,$(check))
	$(say) LD $@
	$(Q)$(CC) $(san) $(LDFLAGS) $^ $(dep_libs) $(check_libs) -o $@

.PHONY: check check-units check-e2e demo
check: test-packages
	+$(Q)BUILD=$(BUILD) MAKE="$(MAKE)" test/run.sh $(BUILD)

.PHONY: test-packages
test-packages:
	$(Q)test/packages.sh test

check-units: $(BUILD)/check-units
	$(Q)$(BUILD)/check-units

check-e2e: all $(progs)
	$(Q)BUILD=$(BUILD) /usr/bin/python3 -B test/e2e/harness.py

demo: packages
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) bench/demo.sh
