# The contract: build, demo, test, parity, bench (see README.md). Every target
# needs only Go, make and git; kube-bench's profiles come from its Go module.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Nodes generated for each cis-1.* profile by `make parity`. One or two of them
# have a loop of links, on which both programs give up.
NODES ?= 32

.PHONY: build profiles demo test parity bench fuzz lint clean

build: profiles
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/hardener ./cmd/hardener

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

parity: profiles
	$(GO) test -timeout 85m -count=1 -v -run '^TestParity$$' ./tests/parity -parity.nodes=$(NODES)

bench: build
	$(GO) run ./tests/bench

# FUZZTIME for each fuzz target.
FUZZTIME ?= 30s
fuzz: profiles
	@set -e; for pkg in $$($(GO) list ./hardener/...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

lint: profiles
	@test -z "$$(gofmt -l cmd hardener profiles tests)" || { gofmt -l cmd hardener profiles tests; echo 'lint: run gofmt -w on these files' >&2; exit 1; }
	$(GO) vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo 'lint: golangci-lint is not installed; ran gofmt and go vet'; fi

clean:
	rm -rf bin
