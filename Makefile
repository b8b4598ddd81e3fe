# The contract: build, demo, test, image, parity, bench (see README.md). Every target
# needs only Go, make and git; kube-bench's profiles come from its Go module.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build image profiles demo test lab lab-down e2e e2e-ha e2e-hooks scale faults bench-policies bench-watch groupvars parity bench fuzz lint clean

build: profiles
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/hardener ./cmd/hardener-image

# The container image as an archive for ctr images import, and its digest.
image: build
	bin/hardener-image save bin/hardener-image.tar

# The embedded profiles: copied out of kube-bench's module, verified by
# go.sum, into profiles/cfg (ignored by git). Does nothing when up to date.
profiles:
	@$(GO) run ./profiles/generate

demo: build
	@bin/hardener demo

# As an ordinary user it runs whatever needs no root and says what it skipped;
# as root on a Debian-like machine it skips nothing, and fails if it does with
# STRICT=1.
test: build
	$(GO) vet ./...
	$(GO) run ./tests/runner $(if $(STRICT),-strict) -- -timeout 40m ./...
	$(GO) run ./tests/runner $(if $(STRICT),-strict) -C tests/oracle -- ./...

# A Kubespray-shaped cluster on this machine, as root: see tests/README.md.
# TOPOLOGY is small or ha; KUBERNETES is a version that the lab builds.
TOPOLOGY   ?= small
KUBERNETES ?= v1.35.4
lab: profiles
	$(GO) run ./tests/labctl up --topology $(TOPOLOGY) --kubernetes $(KUBERNETES)

lab-down:
	$(GO) run ./tests/labctl down

# The end-to-end tests, on a lab of their own that ends with them; one package
# at a time, since each wants the machine to itself.
E2E = $(GO) run ./tests/runner -v $(if $(STRICT),-strict) -- -tags e2e -count=1 -p 1 -timeout 75m
e2e: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) ./tests/lab/... ./tests/deadman ./tests/rollout ./tests/scale
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) -skip '$(SKIP)' ./tests/e2e -settle=$(SETTLE) -soak=$(SOAK)

# How long e2e's fixes watch what they restarted, and how long e2e watches a
# cluster afterwards.
SOAK   ?= 5m
SETTLE ?= 10m
SKIP   ?= ^(TestHA|TestHooks|TestWatchBench$$)

e2e-ha: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) -run '^TestHA' -skip '^TestHAHooks' ./tests/e2e

# The playbooks of kubespray-hooks over SSH, on a small and on a highly available cluster.
e2e-hooks: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) -run '^Test(HA)?Hooks' ./tests/e2e -soak=$(SOAK)

# Rollouts over clusters of NODES simulated nodes, and of a tenth of them.
scale: NODES ?= 1000
scale: profiles
	$(E2E) ./tests/scale -nodes=$(NODES)

# Fixes of a live control plane, broken in every way, TRIALS of them.
# LABS clusters at a time; SEED of the moments, 0 for others each time; FAULT of them only,
# separated by commas.
TRIALS ?= 100
LABS   ?= 2
SEED   ?= 0
FAULT  ?=
faults: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(GO) test -tags e2e -count=1 -timeout 0 -v ./tests/faults -trials=$(TRIALS) -labs=$(LABS) -seed=$(SEED) -fault="$(FAULT)"

# The policies checks on a full cluster, against kube-bench.
bench-policies: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) -run '^TestPolicies$$' ./tests/e2e

# How soon hardener watch tells of changes, and what watching costs, on a machine
# that is not busy otherwise. IDLE is how long it is watched while nothing happens.
IDLE ?= 10m
bench-watch: profiles
	LAB_KUBERNETES=$(KUBERNETES) $(E2E) -run '^TestWatchBench$$' ./tests/e2e -watch.idle=$(IDLE)

# NODES generated for each cis-1.* profile. One or two of them have a loop of
# links, on which both programs give up.
parity: NODES ?= 32
parity: profiles
	$(GO) test -timeout 85m -count=1 -v -run '^TestParity$$' ./tests/parity -parity.nodes=$(NODES)

bench: build
	$(GO) run ./tests/bench

# The file of hardener vars in Kubespray's own templates. KUBESPRAY is a clone with its
# tags, of which nothing is kept.
KUBESPRAY ?=
groupvars: profiles
	@if [ -z "$(KUBESPRAY)" ]; then echo 'groupvars: skipped: KUBESPRAY=DIR names no clone of Kubespray'; \
	else $(GO) test -tags groupvars -count=1 -v -timeout 30m ./tests/groupvars -kubespray="$(abspath $(KUBESPRAY))"; fi

# FUZZTIME for each fuzz target.
FUZZTIME ?= 30s
fuzz: profiles
	@set -e; for pkg in $$($(GO) list ./hardener/...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

lint: profiles
	@test -z "$$(gofmt -l cmd hardener images profiles tests)" || { gofmt -l cmd hardener images profiles tests; echo 'lint: run gofmt -w on these files' >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./tests/...
	$(GO) vet -tags groupvars ./tests/groupvars
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo 'lint: golangci-lint is not installed; ran gofmt and go vet'; fi

clean:
	rm -rf bin
