//go:build linux

package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	hooksign "github.com/aditdev/adit/internal/webhook/sign"
)

const (
	receiverAddress = "127.0.0.1:9000" // on the hub's machine
	receiverURL     = "http://" + receiverAddress + "/hook?x=1"
	hooksURL        = hubURL + "/app/webhooks"
	// hostileAnswer is what the receiver says: text, whatever it looks like.
	hostileAnswer = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
)

// A receiver is what a person's own service would be. It keeps every request.
type receiver struct {
	mu     sync.Mutex
	status int
	came   []delivered
}

type delivered struct {
	header http.Header
	body   []byte
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, delivered{req.Header.Clone(), body})
	w.Header().Set("Content-Type", "text/html")
	if r.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5") // time to look at it
	}
	w.WriteHeader(r.status)
	fmt.Fprint(w, hostileAnswer)
}

func (r *receiver) answers(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) all() []delivered {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]delivered(nil), r.came...)
}

// last is what came last, once there are as many as that.
func (r *receiver) last(t testing.TB, count int) delivered {
	t.Helper()
	var came []delivered
	eventually(t, patience, fmt.Sprintf("%d requests at the receiver", count), func() error {
		if came = r.all(); len(came) < count {
			return fmt.Errorf("there are %d", len(came))
		}
		return nil
	})
	return came[len(came)-1]
}

// hookPages is a browser at the pages of endpoints and deliveries, and where they deliver to.
type hookPages struct {
	*rig
	*browser
	t        testing.TB
	receiver *receiver
	secret   *hooksign.Secret // of the endpoint, as the page showed it once
}

// The pages of endpoints and deliveries in Chromium, with a hub that really delivers: each step goes on where the one
// before it ended.
func TestHookPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback")
	p := &hookPages{rig: r, browser: r.browser(), t: t, receiver: &receiver{status: http.StatusOK}, secret: new(hooksign.Secret)}
	listener, err := r.host.listen(receiverAddress)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.receiver}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-served })
	p.open(hubURL + "/app/login")
	p.fill("#email", ownerEmail)
	p.fill("#password", ownerPassword)
	p.click("[data-testid=login-form] [type=submit]")
	for _, step := range []struct {
		name string
		run  func(*hookPages)
	}{
		{"empty", (*hookPages).empty},
		{"form", (*hookPages).form},
		{"create", (*hookPages).create},
		{"bytes", (*hookPages).bytes},
		{"retry", (*hookPages).retries},
		{"replay", (*hookPages).replays},
		{"rotate", (*hookPages).rotates},
		{"breaker", (*hookPages).breaks},
		{"keyboard alone", (*hookPages).keyboard},
		{"pause, edit, remove", (*hookPages).changes},
	} {
		t.Run(step.name, func(t *testing.T) {
			at := *p
			at.t, at.browser = t, p.browser.as(t)
			step.run(&at)
		})
		if p.browser.as(t).clean(); t.Failed() {
			return
		}
	}
}

// empty is reached by the rail, and teaches.
func (p *hookPages) empty() {
	p.click("[data-testid=nav-webhooks]")
	p.wait("[data-testid=hook-empty]", "tried again")
	p.inspectEverySize("hooks-empty")
	p.click("[data-testid=hook-tab-deliveries]")
	p.wait("main", "Nothing was sent yet")
	p.inspectBoth("hooks-deliveries-empty")
}

// form says what is wrong before the hub does, and shows what a program would make, as the hub says.
func (p *hookPages) form() {
	p.open(hooksURL)
	p.click("[data-testid=hook-add-endpoint]")
	p.wait("#hook-url:focus", "") // where a person begins
	p.click("[data-testid=hook-save]")
	p.wait("#hook-url-error", "Where should the hub send?")
	p.wait("#hook-events-error", "at least one")
	p.fill("#hook-url", "https://ada:secret@shop.example/")
	p.wait("#hook-url-error", "No name or password")
	p.fill("#hook-url", receiverURL)
	p.click("[data-testid=hook-group-device]")
	p.click("[data-testid=hook-unfold-device]")
	p.wait("[data-testid='hook-event-device.online']:disabled", "")
	p.wait("[data-testid=hook-preview]", `"type": "device.`)
	p.do("choose", ask{"on": "#hook-kind", "value": "jq"}, nil)
	p.fill("#hook-program", `{text: .type, who: .device.name`)
	p.becomes("document.querySelector('[data-testid=hook-transform-error]').textContent !== ''", "true")
	p.fill("#hook-program", `{text: .type, who: .device.name}`)
	p.wait("[data-testid=hook-preview]", `{"text":"device.`)
	p.becomes("document.querySelector('[data-testid=hook-transform-error]').textContent", "")
	p.click("[data-testid=hook-advanced] summary")
	p.click("[data-testid=hook-add-header]")
	p.fill("[aria-label=Name]", "Authorization")
	p.fill("[aria-label=Value]", "Bearer of-the-receiver")
	p.inspectEverySize("hooks-form")
	p.do("choose", ask{"on": "#hook-kind", "value": ""}, nil)
}

// create shows the secret once, and what the receiver does with it; the test that is sent verifies by that.
func (p *hookPages) create() {
	p.fill("#hook-name", "receiver")
	p.click("[data-testid=hook-save]")
	p.wait("[data-testid=hook-secret]", "not shown again")
	p.wait("h2:focus", "receiver is ready")
	p.becomes("document.title.startsWith('receiver is ready')", "true")
	p.keepSecret()
	p.inspectEverySize("hooks-made")
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "Arrived: 200")
	came := p.receiver.last(p.t, 1)
	if got := came.header.Get("Authorization"); got != "Bearer of-the-receiver" {
		p.t.Errorf("the receiver's own header was %q", got)
	}
	p.verifies(came, *p.secret)
	p.click("#hook-verify-openssl")
	p.wait("[data-testid=hook-verify] pre", "openssl dgst")
	line := p.text("[data-testid=hook-verify] pre")
	script := fmt.Sprintf("cd $(mktemp -d); printf %%s %s | base64 -d >body; ID=%s TIMESTAMP=%s\n%s", base64.StdEncoding.EncodeToString(came.body),
		came.header.Get(hooksign.HeaderID), came.header.Get(hooksign.HeaderTimestamp), line)
	if got := "v1," + strings.TrimSpace(p.host.run("bash", "-c", script)); got != came.header.Get(hooksign.HeaderSignature) {
		p.t.Errorf("openssl as the page has it: %s, and the request had %s", got, came.header.Get(hooksign.HeaderSignature))
	}
	p.click("[data-testid=hook-made-open]")
	p.wait("[data-testid=hook-endpoint-name]", "receiver")
	p.wait("[data-testid=hook-health]", "100 %")
	if body := p.text("body"); strings.Contains(body, p.secret.String()) {
		p.t.Error("the secret is shown again")
	}
}

func (p *hookPages) keepSecret() {
	p.t.Helper()
	secret, err := hooksign.ParseSecret(strings.TrimSpace(p.text("[data-testid=hook-secret] code")))
	if err != nil {
		p.t.Fatal(err)
	}
	*p.secret = secret
}

func (p *hookPages) verifies(came delivered, secret hooksign.Secret) {
	p.t.Helper()
	if err := hooksign.Verify([]hooksign.Secret{secret}, came.header, came.body, time.Now(), 5*time.Minute); err != nil {
		p.t.Errorf("what came does not verify: %v", err)
	}
}

// bytes shows the request as it came to the receiver, and an answer that would be a program as text.
func (p *hookPages) bytes() {
	p.click("[data-testid=hook-delivery]")
	p.wait("[data-testid=hook-detail-state]", "Delivered")
	p.wait("[data-testid=hook-request]", "POST /hook?x=1")
	p.wait("[data-testid=hook-request] dl", "(kept secret)")
	if strings.Contains(p.text("[data-testid=hook-detail]"), "of-the-receiver") {
		p.t.Error("the page shows the value of a header that is a secret")
	}
	came := p.receiver.last(p.t, 1)
	p.click("#hook-request-text")
	if got := p.text("#hook-request-panel pre"); got != string(came.body) {
		p.t.Errorf("the page shows %q, the receiver got %q", got, came.body)
	}
	p.click("#hook-request-hex")
	p.wait("#hook-request-panel pre", fmt.Sprintf("% x", came.body[:16]))
	if got := p.text("#hook-response-panel pre"); got != hostileAnswer {
		p.t.Errorf("the answer is shown as %q", got)
	}
	p.becomes("window.hacked", "undefined")
	p.click("#hook-request-json")
	p.inspectEverySize("hooks-delivery-beside")

	p.click("button:has-text('Copy as curl')")
	p.wait("[data-testid=hook-detail]", "Copied")
	var line string
	p.evaluate("navigator.clipboard.readText()", &line)
	p.host.run("bash", "-c", strings.ReplaceAll(line, "***", "Bearer again"))
	again := p.receiver.last(p.t, 2)
	if !bytes.Equal(again.body, came.body) || again.header.Get(hooksign.HeaderSignature) != came.header.Get(hooksign.HeaderSignature) {
		p.t.Errorf("curl sent %q with %v", again.body, again.header)
	}
}

// retries shows a failure, when the next try is, and that it arrived then.
func (p *hookPages) retries() {
	before := len(p.receiver.all())
	p.receiver.answers(http.StatusServiceUnavailable)
	p.open(hooksURL + "/endpoints/receiver")
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "Answered 503")
	p.wait("[data-testid=hook-next]", "Next try")
	p.wait("[data-testid=hook-detail] [data-testid=hook-attempt][data-status='503']", "")
	p.wait("[data-testid=hook-delivery][data-state=waiting]", "503")
	p.gone("[data-testid=hook-replay-one]") // the hub refuses that while it waits
	p.wait("[data-testid=hook-state][data-condition=failing]", "tried again")
	p.becomes("document.querySelectorAll('[data-testid=hook-attempt]').length", "2") // by itself, after five seconds
	p.wait("[data-testid=hook-next]", "Next try in")
	p.receiver.answers(http.StatusOK)
	p.inspectEverySize("hooks-delivery-waits")
	p.click("[data-testid=hook-try-now]") // and not in five minutes
	p.wait("[data-testid=hook-detail][data-state=delivered]", "Delivered")
	p.becomes(fmt.Sprintf("document.querySelectorAll('[data-testid=hook-attempt]').length === %d", len(p.receiver.all())-before), "true")
	p.gone("[data-testid=hook-try-now]")
	p.gone("[data-testid=hook-state]")
	var id string
	p.evaluate("new URLSearchParams(location.search).get('delivery')", &id)
	p.open(hooksURL + "/deliveries/" + id)
	p.click("[data-testid=hook-attempt][data-status='503']")
	p.wait("[data-testid=hook-response]", "503")
	p.inspectEverySize("hooks-delivery")
	p.click("[data-testid=hook-diff-toggle]")
	p.wait("[data-testid=hook-diff]", "503")
	p.inspectBoth("hooks-diff")
}

// replays one, and then what a filter lets through, of which the number is said first.
func (p *hookPages) replays() {
	before := p.receiver.all()
	var url string
	p.do("url", nil, &url)
	p.click("[data-testid=hook-replay-one]")
	p.wait("[data-testid=hook-detail]", "replay of an earlier one")
	p.wait("[data-testid=hook-detail][data-state=delivered]", "")
	var after string
	if p.do("url", nil, &after); after == url {
		p.t.Error("a replay is no new delivery")
	}
	came := p.receiver.last(p.t, len(before)+1)
	if came.header.Get("adit-replay") != "1" || came.header.Get(hooksign.HeaderID) != before[len(before)-1].header.Get(hooksign.HeaderID) {
		p.t.Errorf("the replay came with %v", came.header)
	}
	p.open(hooksURL + "/deliveries")
	p.do("choose", ask{"on": "[data-testid=hook-filter-state]", "value": "delivered"}, nil)
	p.becomes("document.querySelectorAll('[data-testid=hook-delivery]').length", "3")
	p.inspectEverySize("hooks-deliveries")
	p.click("[data-testid=hook-replay-many]")
	p.wait("[data-testid=hook-replay-count]", "2 messages")
	p.inspectBoth("hooks-replay")
	p.click("[data-testid=hook-replay-go]")
	p.wait("[data-testid=toast]", "2 messages are delivered again")
	p.receiver.last(p.t, len(before)+3)
	p.becomes("document.querySelectorAll('[data-testid=hook-delivery]').length", "5")
	p.do("choose", ask{"on": "[data-testid=hook-filter-state]", "value": "dead"}, nil)
	p.wait("main", "No delivery matches")
	p.click("button:has-text('Clear the filter')")
	p.click("[data-testid=hook-replay-many]")
	p.wait("[data-testid=hook-replay-count]", "Nothing matches") // what arrived is not meant, until somebody says so
	p.inspectBoth("hooks-replay-any")
	p.click("[data-testid=hook-replay-all]")
	p.wait("[data-testid=hook-replay-count]", "2 messages")
	p.press("Escape")
	p.gone("[data-testid=hook-replay]")
}

// rotates the secret: what comes after that verifies with either.
func (p *hookPages) rotates() {
	old, before := *p.secret, len(p.receiver.all())
	p.open(hooksURL + "/endpoints/receiver")
	p.click("[data-testid=hook-rotate]")
	p.wait("[data-testid=hook-rotate-form]", "both signatures")
	p.inspectBoth("hooks-rotate")
	p.click("[data-testid=hook-rotate-go]")
	p.wait("[data-testid=hook-secret]", "not shown again")
	p.keepSecret()
	p.inspectBoth("hooks-rotated")
	p.click("[data-testid=hook-rotated]")
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "Arrived")
	came := p.receiver.last(p.t, before+1)
	if p.secret.String() == old.String() {
		p.t.Error("the secret is the same")
	}
	p.verifies(came, old)
	p.verifies(came, *p.secret)
	p.click("summary:has-text('How it is sent')")
	p.wait("main", "signs too for")
	p.wait("[data-testid=hook-verify]", "YOUR_SECRET_ENDING_IN")
	p.inspectBoth("hooks-endpoint")
}

// breaks shows an endpoint behind its breaker, and lets what waits go as soon as the receiver is mended.
func (p *hookPages) breaks() {
	p.receiver.answers(http.StatusServiceUnavailable)
	body := ask{"url": receiverURL, "name": "broken", "topics": []string{"none"}}
	if err := p.call(http.MethodPost, "/api/v1/hooks/endpoints", body, nil); err != nil {
		p.t.Fatal(err)
	}
	for range 12 { // ten failures in a row open it
		if err := p.call(http.MethodPost, "/api/v1/hooks/endpoints/broken/test", nil, nil); err != nil {
			p.t.Fatal(err)
		}
	}
	p.open(hooksURL + "/endpoints/broken")
	p.wait("[data-testid=hook-state][data-condition=resting]", "It fails.")
	p.inspectEverySize("hooks-breaker")
	p.receiver.answers(http.StatusOK)
	p.click("[data-testid=hook-try-oldest]") // and not in minutes
	p.wait("[data-testid=hook-detail][data-state=delivered]", "Delivered")
	p.gone("[data-testid=hook-state]")
	if err := p.call(http.MethodDelete, "/api/v1/hooks/endpoints/broken", nil, nil); err != nil {
		p.t.Error(err)
	}
}

// keyboard reaches a delivery and folds its body without a pointer; whatever has the focus shows it.
func (p *hookPages) keyboard() {
	p.open(hooksURL)
	p.wait("[data-testid=hook-endpoint]", "receiver")
	p.inspectEverySize("hooks-list")
	p.press("j")
	p.wait("[data-testid=hook-endpoint]:focus", "receiver")
	p.backTo("[data-testid=hook-tab-deliveries]")
	p.press("Enter")
	p.wait("[data-testid=hook-delivery]", "")
	p.press("/")
	p.wait("[data-testid=hook-filter-type]:focus", "")
	p.tabTo("[data-testid=hook-replay-many]")
	p.press("Enter")
	p.wait("[data-testid=hook-replay-count]", "Nothing matches")
	p.press("Escape")
	p.wait("[data-testid=hook-replay-many]:focus", "") // a dialog gives it back
	p.press("j")
	p.wait("[data-testid=hook-delivery]:focus", "")
	p.press("ArrowDown")
	p.press("Enter")
	p.wait("[data-testid=hook-detail]", "webhook-id")
	p.wait("section[aria-label=Delivery]:focus", "")
	p.press("j") // goes on from the one that is open
	p.wait("[data-testid=hook-delivery]:not(.chosen):focus", "")
	p.press("Enter")
	p.wait("section[aria-label=Delivery]:focus", "")
	p.tabTo("#hook-request-json")
	p.press("ArrowRight")
	p.wait("#hook-request-text:focus", "")
	p.press("Escape")
	p.wait("[data-testid=hook-delivery]:focus", "")
	p.press("Enter")
	p.wait("section[aria-label=Delivery]:focus", "")
	p.click("button:has-text('Close')")
	p.wait("[data-testid=hook-delivery]:focus", "")
}

// changes pauses the endpoint, lets it go on, renames it, and takes it away.
func (p *hookPages) changes() {
	before := len(p.receiver.all())
	p.open(hooksURL + "/endpoints/receiver")
	p.click("[data-testid=hook-pause]")
	p.wait("[data-testid=hook-state][data-condition=paused]", "Paused")
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "paused") // the hub refuses it, and says why
	p.inspectBoth("hooks-paused")
	p.click("[data-testid=hook-go-on]")
	p.gone("[data-testid=hook-state]")
	p.wait("[data-testid=hook-pause]:focus", "") // the button is gone, so that which takes it back
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "Arrived")
	p.receiver.last(p.t, before+1)
	p.click("[data-testid=hook-edit]")
	p.wait("#hook-name:focus", "")
	p.click("[data-testid=hook-endpoint-form] button:has-text('Cancel')")
	p.wait("[data-testid=hook-edit]:focus", "")
	p.press("Enter")
	p.fill("#hook-name", "shop")
	p.inspectBoth("hooks-edit")
	p.click("[data-testid=hook-save]")
	p.wait("[data-testid=hook-endpoint-name]", "shop")
	p.click("[data-testid=hook-test]")
	p.wait("[data-testid=hook-test-result]", "Arrived")
	if came := p.receiver.last(p.t, before+2); came.header.Get("Authorization") != "Bearer of-the-receiver" {
		p.t.Errorf("a header that nobody changed is %q", came.header.Get("Authorization"))
	}
	p.click("[data-testid=hook-remove]")
	p.wait("[data-testid=confirm]", "Remove")
	p.click("[data-testid=confirm]")
	p.wait("[data-testid=hook-empty]", "")
}
