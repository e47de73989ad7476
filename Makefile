# The workbench. `make` alone says what it can do.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# A current Caddy, to run the tests behind beside Debian's; the Go proxy has it.
CADDY := github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.9
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT ?= $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
COMMAND := github.com/aditdev/adit/internal/command
GO_BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags '-s -w -buildid= -X $(COMMAND).version=$(VERSION) -X $(COMMAND).built=$(BUILT)'
# Nothing of ours speaks HTTP/2 from `adit`, and leaving it out saves 0.4 MB. Packages that carry no bulk are compiled without
# inlining: 0.25 MB less to fetch. `internal/house` builds with the same flags and weighs the result.
OURS = github.com/aditdev/adit
ADIT_COLD = $(OURS)/cmd/adit $(OURS)/internal/agent $(OURS)/internal/agent/bridge $(OURS)/internal/agent/gateway \
	$(OURS)/internal/agent/hold $(OURS)/internal/agent/runner $(OURS)/internal/api $(OURS)/internal/cli $(OURS)/internal/command $(OURS)/internal/wire \
	context crypto/ecdsa crypto/elliptic crypto/rsa crypto/x509 encoding/asn1 encoding/json encoding/pem flag fmt log/slog math/big mime mime/multipart \
	net net/http net/netip net/textproto net/url os os/exec os/user path/filepath reflect strconv time vendor/golang.org/x/crypto/cryptobyte \
	vendor/golang.org/x/net/dns/dnsmessage vendor/golang.org/x/net/http/httpguts vendor/golang.org/x/net/idna \
	vendor/golang.org/x/text/secure/bidirule vendor/golang.org/x/text/unicode/bidi vendor/golang.org/x/text/unicode/norm
ADIT_FLAGS = -tags nethttpomithttp2 $(ADIT_COLD:%=-gcflags=%=-l)
ADIT_BUILD = $(GO_BUILD) $(ADIT_FLAGS)

# Every platform that `adit` is made for, and how Go is told.
TARGETS := linux-amd64 linux-arm64 linux-armv6 linux-armv7 linux-386 linux-riscv64 linux-mips linux-mipsle \
           darwin-amd64 darwin-arm64 windows-amd64
env_linux-amd64   := GOOS=linux GOARCH=amd64
env_linux-arm64   := GOOS=linux GOARCH=arm64
env_linux-armv6   := GOOS=linux GOARCH=arm GOARM=6
env_linux-armv7   := GOOS=linux GOARCH=arm GOARM=7
env_linux-386     := GOOS=linux GOARCH=386
env_linux-riscv64 := GOOS=linux GOARCH=riscv64
env_linux-mips    := GOOS=linux GOARCH=mips GOMIPS=softfloat
env_linux-mipsle  := GOOS=linux GOARCH=mipsle GOMIPS=softfloat
env_darwin-amd64  := GOOS=darwin GOARCH=amd64
env_darwin-arm64  := GOOS=darwin GOARCH=arm64
env_windows-amd64 := GOOS=windows GOARCH=amd64

# This machine's platform in the same words.
HOST = $(shell go env GOOS GOARCH GOARM | awk 'NR==1{os=$$0} NR==2{arch=$$0} NR==3{arm=substr($$0,1,1)} \
	END{print os "-" (arch=="arm" ? "armv" arm : arch)}')

SITE_SOURCES := $(shell find static -path static/node_modules -prune -o -path static/dist -prune -o -type f -print 2>/dev/null)
SITE_BUILT := static/node_modules/.adit-built
SITE_PACKAGES := static/node_modules/.package-lock.json
E2E_PACKAGES := e2e/node_modules/.package-lock.json

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: needs-node site bin/adit-hub bin/adit bin/adit-demo ## Build what is missing and start a hub with a demo device; the last line is your way in
	@exec bin/adit-demo

.PHONY: test
test: needs-node ## Go tests with -race, the site's tests, and the whole path in two network namespaces
	@.ci/install-tools
	@$(MAKE) --no-print-directory site bin/adit-hub bin/adit bin/adit-demo bin/caddy $(E2E_PACKAGES)
	@go build -o bin/tally ./internal/tally
	@bin/tally \
		-- 'site' sh -c 'cd static && npx --no-install vitest run --reporter=default --reporter=json --outputFile.json=../bin/vitest.json' \
		-- 'go' go test -json -race -timeout 20m ./... \
		-- 'e2e' env ADIT_E2E=1 go test -json -race -count=1 -parallel 4 -timeout 45m ./e2e

.PHONY: lint
lint: needs-node $(SITE_PACKAGES) ## Formatting, vet, staticcheck, house rules, fresh generated code, svelte-check, shellcheck
	@test -z "$$(git ls-files '*.go' | xargs gofmt -l | tee /dev/stderr)" || { echo "gofmt -w the files above"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -count=1 ./internal/house
	.ci/fresh
	cd static && npm run --silent check
	@if command -v shellcheck >/dev/null; then .ci/shellcheck; else echo "shellcheck is not installed: scripts not checked"; fi

.PHONY: soak
soak: needs-node ## Kill hub and agent at random for five minutes; nothing acknowledged may be lost
	@.ci/install-tools
	@$(MAKE) --no-print-directory site bin/adit-hub bin/adit bin/adit-demo bin/caddy $(E2E_PACKAGES)
	ADIT_E2E=1 ADIT_SOAK=5m go test -count=1 -timeout 30m -v -run TestKill ./e2e

.PHONY: bench
bench: needs-node ## Measure, each figure beside its bound or a baseline taken in the same run
	@.ci/install-tools
	@$(MAKE) --no-print-directory site bin/adit-hub bin/adit bin/adit-demo bin/caddy $(E2E_PACKAGES)
	@go run ./internal/bench/cmd/bench
	@{ ADIT_E2E=1 go test -count=1 -timeout 30m -run '^$$' -bench . -benchtime 1x ./e2e; echo $$? >bin/bench.status; } | \
		tee bin/bench.log | grep --line-buffered -E '(ok|NOT MET)$$'
	@test "$$(cat bin/bench.status)" = 0 || { cat bin/bench.log; exit 1; }

.PHONY: build
build: needs-node site dist ## The hub with the site and `adit` for every platform inside: bin/adit-hub
	@$(MAKE) --no-print-directory bin/adit-hub bin/adit

.PHONY: dist
dist: $(TARGETS:%=internal/dist/files/adit-%.gz) ## `adit` for every platform, compressed, ready to be embedded

.PHONY: generate
generate: needs-node $(SITE_PACKAGES) ## Write again what is generated: API, SQL, TypeScript types
	go generate ./...
	cd static && npm run --silent types

.PHONY: site
site: $(SITE_BUILT) ## The site into static/dist

.PHONY: clean
clean: ## Remove everything built; ./data stays
	rm -rf bin static/node_modules e2e/node_modules e2e/out
	find static/dist internal/dist/files -mindepth 1 ! -name .gitkeep -delete

# Go decides by itself what is stale, so these always run.
.PHONY: FORCE
FORCE:

.PHONY: adit-flags
adit-flags:
	@echo $(ADIT_FLAGS)

bin/caddy:
	GOBIN=$(CURDIR)/bin GOFLAGS=-mod=mod go install $(CADDY)

bin/adit: FORCE
	@$(ADIT_BUILD) -o $@ ./cmd/adit

bin/adit-demo: FORCE
	@go build -buildvcs=false -o $@ ./internal/demo

bin/adit-hub: FORCE $(SITE_BUILT) host-binary
	@$(GO_BUILD) -o $@ .

.PHONY: host-binary
host-binary:
	@$(MAKE) --no-print-directory internal/dist/files/adit-$(HOST).gz

bin/cross/adit-%: FORCE
	@mkdir -p bin/cross
	@$(env_$*) $(ADIT_BUILD) -o $@ ./cmd/adit

.PRECIOUS: bin/cross/adit-%
internal/dist/files/adit-%.gz: bin/cross/adit-%
	@gzip -9nc $< >bin/cross/$*.$$$$ && if cmp -s bin/cross/$*.$$$$ $@; then rm bin/cross/$*.$$$$; else \
		mv bin/cross/$*.$$$$ $@; echo "$@: $$(wc -c <$@) bytes"; fi

$(SITE_PACKAGES): static/package-lock.json static/package.json
	cd static && npm ci --no-audit --no-fund
	@touch $@

$(E2E_PACKAGES): e2e/package-lock.json e2e/package.json
	cd e2e && npm ci --no-audit --no-fund
	@touch $@

$(SITE_BUILT): $(SITE_PACKAGES) $(SITE_SOURCES)
	cd static && npm run --silent build
	@touch $@

.PHONY: needs-node
needs-node:
	@command -v go >/dev/null || { echo "Go is missing: https://go.dev/dl (the version in go.mod, or newer)"; exit 1; }
	@node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major < 20 || (major === 20 && minor < 19) ? 1 : 0)' 2>/dev/null || \
		{ echo "Node 20.19 or newer is missing: https://nodejs.org (the site is built with it; nothing of it runs later)"; exit 1; }
