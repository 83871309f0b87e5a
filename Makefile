# The commands of the README. Each sets up what it needs first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HIGHWATER := target/release/highwater

.PHONY: cluster-test help run cluster test lint unit e2e deny fuzz bench faults simulate mutants setup setup-etcd setup-test release

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## What building needs (a Rust toolchain by rustup, a C compiler)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: install gcc (Debian: apt-get install build-essential)" >&2; exit 1; }
	@tools/protoc --build

setup-etcd: setup ## What the tests beside the code need on top: etcd (built by Go)
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

# What `make test` runs of e2e/tests. The others take long, or have not been green often enough to decide what lands: `make
# cluster-test`, `make faults`.
E2E := layering refused_starts answers clients_kcat clients_rdkafka clients_python clients_franz_go clients_java clients_console \
  java_tools dump hostile_sockets bad_disks disk_limit otel crash failover rolling_restart

e2e: setup-test release ## Real clients and faults against the real binaries
	cargo test -p highwater-e2e --locked --lib --bins $(E2E:%=--test %) -- --test-threads=1
	@echo "NOT RUN HERE: cluster_clients etcd_outage footprint (make cluster-test), faults (make faults)"

cluster-test: setup-test release ## All client suites and Kafka's tools on three brokers, a minute without etcd, memory and 10,000 partitions
	cargo test -p highwater-e2e --locked --no-fail-fast --test cluster_clients --test etcd_outage --test footprint -- --test-threads=1 --nocapture
	HIGHWATER_E2E_PEER=cluster cargo test -p highwater-e2e --locked --test java_tools -- --test-threads=1

deny: setup ## Licences, advisories and banned crates
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

test: ## Install what the tests need and run all of them
	tools/timed setup make --no-print-directory setup-test
	tools/timed lint make --no-print-directory lint
	tools/timed unit make --no-print-directory unit
	tools/timed release make --no-print-directory release
	tools/timed e2e make --no-print-directory e2e

fuzz: setup ## Coverage-guided fuzzing of the decoders (nightly, cargo-fuzz); FUZZ_SECONDS a target
	tools/fuzz

bench: release ## The quick suite beside Apache Kafka
	e2e/bench/bench --system kafka=e2e/bench/kafka-peer --system highwater=e2e/bench/highwater-peer --suite quick

faults: setup-test release ## Long fault and crash runs; ROUNDS a suite, SEED for the first
	HIGHWATER_FAULT_ROUNDS=$${ROUNDS:-200} HIGHWATER_FAULT_SECONDS=36000 $${SEED:+HIGHWATER_FAULT_SEED=$$SEED} \
	  cargo test -p highwater-e2e --test faults --locked -- --test-threads=1 --nocapture
	HIGHWATER_CRASH_ROUNDS=$${ROUNDS:-200} cargo test -p highwater-e2e --test crash --locked -- --test-threads=1 --nocapture

simulate: setup ## More schedules of the simulation; SEEDS of them from FIRST on, or MINUTES long; SIMULATION_SEED plays one
	cargo run -p highwater-simulation --locked

mutants: setup ## Break production's rules one at a time; the simulation must find each
	tools/mutants
