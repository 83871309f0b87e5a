# The commands of the README. Each sets up what it needs first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HIGHWATER := target/release/highwater

.PHONY: help run cluster test lint unit e2e cluster-test short-faults footprint deny fuzz bench bench-all faults simulate mutants \
  setup setup-etcd setup-test release

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## What building needs (a Rust toolchain by rustup, a C compiler)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: install gcc (Debian: apt-get install build-essential)" >&2; exit 1; }
	@tools/protoc --build

setup-etcd: setup ## What the tests beside the code need on top: etcd (built by Go), patch
	@tools/setup etcd

setup-test: setup ## What all tests need on top: etcd, kcat, the Java, Python and Go clients
	tools/setup

release: setup ## Build all binaries
	cargo build --release --locked

define FIRST_MESSAGE
Highwater starts on 127.0.0.1:9092, data in ./highwater-data. Stop it with Ctrl-C. The first message, in another terminal:

    echo "hello" | kcat -b 127.0.0.1:9092 -P -t greetings
    kcat -b 127.0.0.1:9092 -C -t greetings -o beginning -e

(kcat: apt-get install kcat, or any other Kafka client.) What it does: curl 127.0.0.1:9644/metrics

endef
export FIRST_MESSAGE

run: release ## Build and start Highwater on 127.0.0.1:9092, data in ./highwater-data
	@printf '%s\n' "$$FIRST_MESSAGE"
	@exec $(HIGHWATER)

cluster: release setup-etcd ## Build and start a cluster on this machine: etcd, 3 controllers, 3 brokers, 2 coordinators
	@exec tools/cluster

lint: setup ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: setup-etcd ## Tests beside the code
	cargo test --workspace --exclude highwater-e2e --locked

# What `make test` runs of e2e/tests: first what needs one process, then what starts whole clusters.
E2E := layering refused_starts answers clients_kcat clients_rdkafka clients_python clients_franz_go clients_java clients_console \
  java_tools dump hostile_sockets bad_disks crash
CLUSTER := make_cluster otel disk_limit disk_stall failover rolling_restart etcd_outage etcd_restore cluster_clients
# All of one build: another set of features would build everything twice.
RUN_E2E := cargo test -p highwater-e2e --locked --no-fail-fast

e2e: setup-test release ## Real clients, crashes and hostile input against the real binary
	$(RUN_E2E) --lib --bins $(E2E:%=--test %) -- --test-threads=1

cluster-test: setup-test release ## The same clients and Kafka's tools on three brokers, failover, a rolling restart, a minute without etcd, etcd restored from a backup
	$(RUN_E2E) $(CLUSTER:%=--test %) -- --test-threads=1
	HIGHWATER_E2E_PEER=cluster $(RUN_E2E) --test java_tools -- --test-threads=1

# The seed that CI plays: what is chosen is the same, what comes of it is not.
short-faults: setup-test release ## Ten minutes of random faults, as CI runs them
	HIGHWATER_FAULT_SEED=$${SEED:-4} HIGHWATER_FAULT_ROUNDS=1000 HIGHWATER_FAULT_SECONDS=$${SECONDS_OF_FAULTS:-600} \
	  $(RUN_E2E) --test faults -- --test-threads=1 --nocapture

footprint: setup-test release ## Memory and CPU of an idle cluster, and 10,000 partitions
	$(RUN_E2E) --test footprint -- --test-threads=1 --nocapture

deny: setup ## Licences, advisories and banned crates
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

test: ## Install what the tests need and run them: all that decides what lands
	tools/timed setup make --no-print-directory setup-test
	tools/timed lint make --no-print-directory lint
	tools/timed unit make --no-print-directory unit
	tools/timed mutants make --no-print-directory mutants
	tools/timed release make --no-print-directory release
	tools/timed e2e make --no-print-directory e2e
	tools/timed cluster make --no-print-directory cluster-test
	tools/timed faults make --no-print-directory short-faults
	@echo "NOT RUN HERE: footprint (make footprint), licences and banned crates (make deny), fuzzing (make fuzz), long fault runs (make faults)"

fuzz: setup ## Coverage-guided fuzzing of the decoders (nightly, cargo-fuzz); FUZZ_SECONDS a target
	tools/fuzz

BENCH := e2e/bench/bench --prio -10
KAFKA := --system kafka=e2e/bench/kafka-peer
KAFKA_SYNC := --system kafka-sync=e2e/bench/kafka-sync
OURS := --system highwater=e2e/bench/highwater-peer
REPEAT ?= 3

bench: release ## The quick suite beside Apache Kafka
	e2e/bench/bench $(KAFKA) $(OURS) --suite quick

bench-all: release setup-etcd ## Every suite in both durability modes, like against like, REPEAT times (3), and the table of goals; about two hours
	WRITE_CACHING=true $(BENCH) $(KAFKA) $(OURS) --suite core,scale --repeat $(REPEAT) --out bench-cached.jsonl
	$(BENCH) $(KAFKA_SYNC) $(OURS) --suite core,scale,recovery --repeat $(REPEAT) --out bench-disk.jsonl
	$(BENCH) $(KAFKA) $(OURS) --suite quick --repeat $(REPEAT) --out bench-default.jsonl
	WRITE_CACHING=true $(BENCH) $(KAFKA) $(OURS) --suite cluster --repeat $(REPEAT) --out bench-cluster-cached.jsonl
	$(BENCH) $(KAFKA_SYNC) $(OURS) --suite cluster --repeat $(REPEAT) --out bench-cluster-disk.jsonl
	$(BENCH) $(KAFKA) $(OURS) --suite failover --trials kafka=5:22 --trials highwater=20:8 --repeat 1 --out bench-failover.jsonl
	@missed=0; \
	e2e/bench/goals cached bench-cached.jsonl || missed=1; \
	e2e/bench/goals disk bench-disk.jsonl || missed=1; \
	e2e/bench/goals default bench-default.jsonl || missed=1; \
	e2e/bench/goals cluster bench-cluster-cached.jsonl || missed=1; \
	e2e/bench/goals cluster bench-cluster-disk.jsonl || missed=1; \
	exit $$missed

faults: setup-test release ## Long fault and crash runs; ROUNDS a suite, SEED for the first
	HIGHWATER_FAULT_ROUNDS=$${ROUNDS:-200} HIGHWATER_FAULT_SECONDS=36000 $${SEED:+HIGHWATER_FAULT_SEED=$$SEED} \
	  cargo test -p highwater-e2e --test faults --locked -- --test-threads=1 --nocapture
	HIGHWATER_CRASH_ROUNDS=$${ROUNDS:-200} cargo test -p highwater-e2e --test crash --locked -- --test-threads=1 --nocapture

simulate: setup ## More schedules of the simulation; SEEDS of them from FIRST on, or MINUTES long; SIMULATION_SEED plays one
	cargo run -p highwater-simulation --locked

mutants: setup ## Break production's rules one at a time; the simulation must find each
	tools/mutants
