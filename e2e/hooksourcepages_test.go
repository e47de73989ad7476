//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const (
	sourcesURL = hubURL + "/app/webhooks/sources"
	// hostileBody is what a sender may put into a request: text, whatever it looks like.
	hostileBody = `{"door":"<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>"}`
)

// sourcePages is a browser at the pages of sources and requests, with real Mosquitto clients where they publish.
type sourcePages struct {
	*console
	lines *string // the page's own, which send a signed request
}

// The pages of sources and requests in Chromium: openssl and curl send what the page says, Mosquitto hears and answers it.
// Each step goes on where the one before it ended.
func TestHookSourcePages(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_MQTT_ADDR="+brokerAddress)
	p := &sourcePages{console: &console{rig: r, browser: r.browser(), t: t}, lines: new(string)}
	made := r.mqttCredential(ask{"kind": "user"})
	p.username, p.password = made.username, made.password
	r.pasteLine(ask{"name": "kitchen"})
	eventually(t, patience, "kitchen online", r.online("kitchen", true))
	p.open(hubURL + "/app/login")
	p.fill("#email", ownerEmail)
	p.fill("#password", ownerPassword)
	p.click("[data-testid=login-form] [type=submit]")
	for _, step := range []struct {
		name string
		run  func(*sourcePages)
	}{
		{"empty", (*sourcePages).empty},
		{"form", (*sourcePages).form},
		{"first request", (*sourcePages).firstRequest},
		{"request", (*sourcePages).request},
		{"try and wait", (*sourcePages).tries},
		{"rotate", (*sourcePages).rotates},
		{"command", (*sourcePages).command},
		{"the sender's own secret", (*sourcePages).stripe},
		{"every other sender", (*sourcePages).senders},
		{"verification", (*sourcePages).verification},
		{"keyboard alone", (*sourcePages).keyboard},
		{"edit, switch off, remove", (*sourcePages).changes},
	} {
		t.Run(step.name, func(t *testing.T) {
			c := *p.console
			c.t, c.browser = t, p.browser.as(t)
			step.run(&sourcePages{console: &c, lines: p.lines})
		})
		if p.browser.as(t).clean(); t.Failed() {
			return
		}
	}
}

// shell runs lines on the hub's machine as a person there, and gives what they print.
func (p *sourcePages) shell(lines string) string {
	p.t.Helper()
	return p.host.run("bash", "-c", "export CURL_CA_BUNDLE="+p.dir+"/ca.pem\n"+lines)
}

// empty teaches.
func (p *sourcePages) empty() {
	p.click("[data-testid=nav-webhooks]")
	p.click("[data-testid=hook-tab-sources]")
	p.wait("[data-testid=hook-sources-empty]", "kept on disk before it is answered")
	p.inspectEverySize("sources-empty")
	p.click("[data-testid=hook-tab-requests]")
	p.wait("main", "Nothing came yet")
	p.inspectBoth("requests-empty")
}

// form shows what comes of an example, as the hub says, and what is wrong with it.
func (p *sourcePages) form() {
	p.open(sourcesURL)
	p.click("[data-testid=hook-add-source]")
	p.wait("[data-testid=hook-senders]", "Slack")
	p.inspectBoth("sources-senders")
	p.click("[data-testid=hook-sender-github]")
	p.wait("[data-testid=hook-preview-topic]", "github/ada/garage/push")
	p.wait("[data-testid=hook-preview]", "Oil the hinges")
	p.fill("#hook-topic", "{{ .body.ref }}")
	p.wait("[data-testid=hook-preview-topic]", "refs/heads/main")
	p.click("[data-testid=hook-save]")
	p.wait("#hook-topic-error", "any topic otherwise")
	p.fill("#hook-topic", "github/{{ .body.nothing }}")
	p.becomes("document.querySelector('#hook-topic-error').textContent !== ''", "true")
	p.fill("#hook-topic", "github/")
	p.click("button:has-text('kind of event')")
	p.wait("[data-testid=hook-preview-topic]", "github/push")
	p.do("choose", ask{"on": "#hook-shape", "value": "jq"}, nil)
	p.fill("#hook-program", `{who: .body.pusher.name`)
	p.becomes("document.querySelector('[data-testid=hook-transform-error]').textContent !== ''", "true")
	p.fill("#hook-program", `{who: .body.pusher.name}`)
	p.wait("[data-testid=hook-preview]", `{"who":"ada"}`)
	p.becomes("document.querySelector('[data-testid=hook-transform-error]').textContent", "")
	p.click("[data-testid=hook-source-advanced] summary")
	p.inspectEverySize("sources-form")
}

// firstRequest arrives as the page's own lines send it; one with another byte is refused before that, and the page says why.
func (p *sourcePages) firstRequest() {
	p.click("[data-testid=hook-save]")
	p.wait("h2:focus", "is ready")
	p.wait("[data-testid=hook-arrival][data-state=waiting]", "Waiting for the first request")
	p.wait("[data-testid=hook-url]", hubURL+"/hook/github")
	p.wait("[data-testid=hook-source-secret]", "not shown again")
	secret := strings.TrimSpace(p.text("[data-testid=hook-source-secret] code"))
	*p.lines = p.text("[data-testid=hook-lines] pre")
	if !strings.Contains(*p.lines, secret) || !strings.Contains(*p.lines, "openssl dgst -sha256") {
		p.t.Fatalf("the lines to copy: %s", *p.lines)
	}
	p.inspectEverySize("sources-waiting")

	tampered := strings.Replace(*p.lines, `--data-raw "$BODY"`, `--data-raw "$BODY "`, 1)
	if out := p.shell(tampered); !strings.Contains(out, " 401 ") {
		p.t.Errorf("a body with another byte: %s", out)
	}
	p.wait("[data-testid=hook-arrival][data-state=refused]", "Waiting for the first request")
	p.wait("[data-testid=hook-refused]", "does not belong to this body and secret")
	p.inspectBoth("sources-refused")

	heard := p.hears("github/push")
	if out := p.shell(*p.lines); !strings.Contains(out, " 202 ") {
		p.t.Errorf("the page's own lines: %s", out)
	}
	p.wait("[data-testid=hook-arrival][data-state=arrived]", "The first request")
	p.wait("[data-testid=hook-verified]", "The signature fits")
	p.wait("[data-testid=hook-outcome]", "github/push")
	p.wait("[data-testid=hook-first-body]", "Oil the hinges")
	if got := heard(); got != `{"who":"ada"}` {
		p.t.Errorf("mosquitto_sub heard %s", got)
	}
	p.inspectEverySize("sources-arrived")
	p.click("[data-testid=hook-made-open]")
	p.wait("[data-testid=hook-source-name]", "github")
	p.wait("[data-testid=hook-accepted]", "1")
	p.wait("[data-testid=hook-refused-count]", "1")
	if strings.Contains(p.text("body"), secret) {
		p.t.Error("the secret is shown again")
	}
}

// request shows what came and what became of it, as text; done again it is published again, under the same id.
func (p *sourcePages) request() {
	hostile := strings.Replace(*p.lines, "BODY=", "BODY='"+hostileBody+"'\nUNUSED=", 1)
	hostile = strings.Replace(hostile, "X-GitHub-Event: push", `X-GitHub-Event: <b onclick="x">`, 1)
	p.click("[data-testid=hook-edit]")
	p.fill("#hook-topic", "github/all")
	p.do("choose", ask{"on": "#hook-shape", "value": ""}, nil)
	p.click("[data-testid=hook-save]")
	p.wait("[data-testid=toast]", "Saved")
	if out := p.shell(hostile); !strings.Contains(out, " 202 ") {
		p.t.Errorf("a request with a hostile body: %s", out)
	}
	p.becomes("document.querySelectorAll('[data-testid=hook-request-row]').length", "2")
	p.click("[data-testid=hook-request-row]")
	p.wait("[data-testid=hook-request-detail][data-state=done]", "github/all")
	p.click("#hook-request-text")
	if got := p.text("#hook-request-panel pre"); got != hostileBody {
		p.t.Errorf("the body is shown as %q", got)
	}
	p.becomes("window.hacked", "undefined")
	p.click("#hook-request-hex")
	p.wait("#hook-request-panel pre", fmt.Sprintf("% x", []byte(hostileBody[:16])))
	p.inspectEverySize("requests-beside")

	heard := p.hears("github/all", "-V", "5", "-F", "%P")
	p.click("[data-testid=hook-request-replay]")
	var id string
	p.evaluate("new URLSearchParams(location.search).get('request')", &id)
	if got := heard(); !strings.Contains(got, "hook-id:"+id) {
		p.t.Errorf("done again it was published with %q, not under %s", got, id)
	}
	p.open(hubURL + "/app/webhooks/requests/" + id)
	p.wait("[data-testid=hook-came]", "POST /hook/github")
	p.inspectEverySize("requests-detail")
}

// tries sends a request from the page, signed there, and gets what a responder of MQTT 5 answers.
func (p *sourcePages) tries() {
	secret := strings.Split(strings.SplitN(*p.lines, "SECRET='", 2)[1], "'")[0]
	p.open(sourcesURL + "/github")
	p.click("[data-testid=hook-try]")
	p.click("[data-testid=hook-try-send]")
	p.wait("[data-testid=hook-try-result]", "the secret is needed")
	p.fill("#hook-try-secret", "another secret")
	p.click("[data-testid=hook-try-send]")
	p.wait("[data-testid=hook-try-result]", "401")
	p.fill("#hook-try-secret", secret)
	p.click("[data-testid=hook-try-send]")
	p.wait("[data-testid=hook-try-result]", "503") // nobody is there who could answer
	asked := p.hears("github/all", "-V", "5", "-F", "%R %D")
	p.do("choose", ask{"on": "#hook-try-wait", "value": "30s"}, nil)
	p.click("[data-testid=hook-try-send]")
	topic, correlation, _ := strings.Cut(asked(), " ")
	p.publish("-V", "5", "-t", topic, "-D", "publish", "correlation-data", correlation, "-D", "publish", "content-type", "application/json", "-m", `{"door":"opened"}`)
	p.wait("[data-testid=hook-try-result]", "200")
	p.wait("[data-testid=hook-response-body]", `"opened"`)
	p.inspectEverySize("sources-try")
	p.click("[data-testid=hook-try-result] a")
	p.wait("[data-testid=hook-answer]", "200")
	p.wait("[data-testid=hook-response-body]", `"opened"`)
	p.inspectBoth("requests-answer")
}

// rotates the secret: for a while requests are taken that are signed with either.
func (p *sourcePages) rotates() {
	p.open(sourcesURL + "/github")
	p.click("[data-testid=hook-rotate]")
	p.wait("[data-testid=hook-rotate-form]", "either")
	p.inspectBoth("sources-rotate")
	p.click("[data-testid=hook-rotate-go]")
	p.wait("[data-testid=hook-source-secret]", "not shown again")
	secret := strings.TrimSpace(p.text("[data-testid=hook-source-secret] code"))
	p.inspectBoth("sources-rotated")
	p.click("[data-testid=hook-rotated]")
	p.click("summary:has-text('How it is verified')")
	p.wait("main", "counts too for")
	p.wait("[data-testid=hook-lines]", "SECRET_ENDING_IN_"+secret[len(secret)-4:])
	p.inspectBoth("sources-source")
	again := p.text("[data-testid=hook-lines] pre")
	again = strings.Replace(again, "SECRET_ENDING_IN_"+secret[len(secret)-4:], secret, 1)
	for name, lines := range map[string]string{"old": *p.lines, "new": again} {
		if out := p.shell(lines); !strings.Contains(out, " 202 ") {
			p.t.Errorf("signed with the %s secret: %s", name, out)
		}
	}
}

// command is chosen from what the device says of itself, and its answer is what curl prints.
func (p *sourcePages) command() {
	p.open(sourcesURL + "/new?from=bearer")
	p.click("[data-testid=hook-does-command]")
	p.do("choose", ask{"on": "#hook-device", "value": ask{"label": "kitchen"}}, nil)
	p.wait("form", "agent.toml")
	p.inspectBoth("sources-no-command")
	p.device.sh("sed -i 's/^run = false/run = true/' /etc/adit/agent.toml")
	p.configure("[[command]]\nname = \"say-door\"\nargv = [\"/bin/echo\", \"opens {door}\"]\nparameters = [\"door=[a-z]{1,20}\"]")
	p.open(sourcesURL + "/new?from=bearer")
	p.click("[data-testid=hook-does-command]")
	p.do("choose", ask{"on": "#hook-device", "value": ask{"label": "kitchen"}}, nil)
	p.becomes("!!document.querySelector('#hook-command:enabled option[value=say-door]')", "true")
	p.do("choose", ask{"on": "#hook-command", "value": "say-door"}, nil)
	p.wait("#hook-parameter-door-hint", "Of the example: open")
	p.inspectEverySize("sources-command")
	p.click("[data-testid=hook-save]")
	p.wait("[data-testid=hook-arrival][data-state=waiting]", "")
	p.click("[data-testid=hook-lines-wait]")
	p.wait("[data-testid=hook-lines]", "?wait=5s")
	if out := p.shell(p.text("[data-testid=hook-lines] pre")); !strings.Contains(out, `opens open\n`) {
		p.t.Errorf("the command answered %s", out)
	}
	p.wait("[data-testid=hook-outcome]", "command on kitchen")
	p.click("[data-testid=hook-first-open]")
	p.wait("[data-testid=hook-answer]", "exit status 0")
	p.wait("[data-testid=hook-response-body]", "opens open")
	p.inspectBoth("requests-command")
}

// stripe makes its secret itself: it is pasted when the address is there, and is what counts from then on.
func (p *sourcePages) stripe() {
	p.open(sourcesURL + "/new?from=stripe")
	p.wait("[data-testid=hook-preview-topic]", "stripe/payment_intent.succeeded")
	p.click("[data-testid=hook-save]")
	p.wait("[data-testid=hook-steps]", "press Reveal")
	p.inspectBoth("sources-stripe")
	p.fill("[data-testid=hook-paste-secret]", "short")
	p.press("Enter")
	p.wait("#hook-paste-error", "8 to 1,024 bytes")
	p.fill("[data-testid=hook-paste-secret]", "whsec_5f1c9e0a7b3d")
	p.press("Enter")
	p.wait("[data-testid=hook-secret-known]", "")
	p.wait("[data-testid=hook-lines]", "whsec_5f1c9e0a7b3d")
	if out := p.shell(p.text("[data-testid=hook-lines] pre")); !strings.Contains(out, " 202 ") {
		p.t.Errorf("signed with Stripe's secret: %s", out)
	}
	p.wait("[data-testid=hook-outcome]", "stripe/payment_intent.succeeded")
}

// senders are added as the form proposes them; the lines that the page shows for each are taken, and with another byte refused.
func (p *sourcePages) senders() {
	for _, kind := range []string{"slack", "gitlab", "shopify", "standard-webhooks", "basic", "hmac", "none"} {
		p.open(sourcesURL + "/new?from=" + kind)
		p.wait("[data-testid=hook-preview-topic]", "/")
		p.click("[data-testid=hook-save]")
		p.wait("[data-testid=hook-arrival][data-state=waiting]", "")
		lines := p.text("[data-testid=hook-lines] pre")
		if tampered := strings.Replace(lines, `--data-raw "$BODY"`, `--data-raw "$BODY "`, 1); tampered != lines {
			if out := p.shell(tampered); !strings.Contains(out, " 401 ") {
				p.t.Errorf("%s, with another byte: %s", kind, out)
			}
		}
		if out := p.shell(lines); !strings.Contains(out, " 202 ") {
			p.t.Errorf("the lines for %s: %s\n%s", kind, out, lines)
			continue
		}
		p.wait("[data-testid=hook-arrival][data-state=arrived]", "")
		p.inspect("sources-made-" + kind)
	}
}

// verification is changed to another kind, with what its sender needs then; within a kind, where the secret stays; and to none.
func (p *sourcePages) verification() {
	send := func(path, token string) string {
		body := `{"project": {"path_with_namespace": "ada/garage"}, "object_kind": "push"}` // as the source's topic needs it still
		return p.shell("curl -sSi --json '" + body + "' -H 'Authorization: Bearer " + token + "' " + hubURL + path)
	}
	p.open(sourcesURL + "/gitlab")
	p.click("[data-testid=hook-verify]")
	p.wait("[data-testid=hook-verification]", "The secret token stays")
	p.wait("[data-testid=hook-sender-gitlab]:focus", "")
	p.click("[data-testid=hook-sender-hmac]")
	p.fill("#hook-header", "X Signature")
	p.click("[data-testid=hook-verification-save]")
	p.wait("#hook-header-error", "Which header")
	p.wait("#hook-header:focus", "")
	p.inspectEverySize("sources-verification")
	p.click("[data-testid=hook-sender-bearer]")
	p.wait("[data-testid=hook-verification-warning]", "refused")
	p.fill("#hook-source-secret", "short")
	p.click("[data-testid=hook-verification-save]")
	p.wait("#hook-source-secret-error", "8 to 1,024 bytes")
	p.wait("#hook-source-secret:focus", "")
	p.becomes("document.querySelector('#hook-source-secret').value", "short")
	p.fill("#hook-source-secret", "")
	p.click("[data-testid=hook-verification-save]")
	p.wait("[data-testid=hook-verification-done]", "curl, scripts")
	token := strings.TrimSpace(p.text("[data-testid=hook-source-secret] code"))
	p.inspectEverySize("sources-verified")
	if out := send("/hook/gitlab", token); !strings.Contains(out, " 202 ") {
		p.t.Errorf("with the new token: %s", out)
	}
	if out := send("/hook/gitlab", "another one"); !strings.Contains(out, " 401 ") {
		p.t.Errorf("with another token: %s", out)
	}
	p.click("[data-testid=hook-verification-close]")
	p.wait("#hook-verify:focus", "")

	before := p.source("hook")
	p.open(sourcesURL + "/hook?verify=1")
	p.do("choose", ask{"on": "#hook-algorithm", "value": "sha512"}, nil)
	p.click("[data-testid=hook-verification-save]")
	p.wait("#hook-verify:focus", "")
	if after := p.source("hook"); after.Verify.Algorithm != "sha512" || fmt.Sprint(after.Secrets) != fmt.Sprint(before.Secrets) {
		p.t.Errorf("another algorithm made %+v of %+v", after, before)
	}
	p.click("[data-testid=hook-verify]")
	p.click("[data-testid=hook-sender-none]")
	p.wait("[data-testid=hook-verification-warning]", "404")
	p.click("[data-testid=hook-verification-save]")
	p.wait("[data-testid=hook-verification-done]", "another one now")
	address := strings.TrimPrefix(strings.TrimSpace(p.text("[data-testid=hook-url] code")), hubURL)
	for path, want := range map[string]string{address: " 202 ", "/hook/hook": " 404 "} {
		if out := send(path, ""); !strings.Contains(out, want) {
			p.t.Errorf("%s, without verification: %s", path, out)
		}
	}
	p.click("[data-testid=hook-verification-close]") // the page was opened by the slug that is gone
	p.wait("[data-testid=hook-accepted]", "")
	p.do("reload", ask{}, nil)
	p.wait("[data-testid=hook-source-name]", "hook")
}

// verified is what the API says of a source's verification.
type verified struct {
	Verify struct {
		Kind, Algorithm string
	}
	Secrets []struct{ ID, Hint string }
}

func (p *sourcePages) source(ref string) (s verified) {
	p.t.Helper()
	p.mustCall("GET", "/api/v1/hooks/sources/"+ref, nil, &s)
	return s
}

// keyboard reaches a request without a pointer; whatever has the focus shows it.
func (p *sourcePages) keyboard() {
	p.open(sourcesURL)
	p.wait("[data-testid=hook-source]", "stripe")
	p.inspectEverySize("sources-list")
	p.press("j")
	p.wait("[data-testid=hook-source]:focus", "")
	p.backTo("[data-testid=hook-tab-requests]")
	p.press("Enter")
	p.wait("[data-testid=hook-request-row]", "")
	p.press("/")
	p.wait("[data-testid=hook-filter-source]:focus", "")
	p.inspectEverySize("requests-list")
	p.tabTo("[data-testid=hook-request-row]")
	p.press("ArrowDown")
	p.press("Enter")
	p.wait("[data-testid=hook-request-detail]", "What came")
	p.do("choose", ask{"on": "[data-testid=hook-filter-state]", "value": "failed"}, nil)
	p.wait("main", "No request matches")
}

// changes edits a source, switches it off and on, and takes it away.
func (p *sourcePages) changes() {
	p.open(sourcesURL + "/github")
	p.click("[data-testid=hook-edit]")
	p.wait("#hook-topic", "")
	p.inspectBoth("sources-edit")
	p.fill("#hook-source-name", "Pushes")
	p.fill("#hook-topic", "github/#")
	p.click("[data-testid=hook-save]")
	p.wait("#hook-topic:focus", "")
	p.mustCall("PATCH", "/api/v1/hooks/sources/github", ask{"rate": 7, "name": "Pushes of all"}, nil) // by somebody else, meanwhile
	p.wait("[data-testid=hook-source-name]", "Pushes of all")
	p.fill("#hook-topic", "github/pushes")
	p.click("[data-testid=hook-save]")
	p.becomes("document.querySelector('[data-testid=hook-source-name]').textContent", "Pushes")
	p.wait("#hook-edit:focus", "")
	var kept struct{ Rate float64 }
	if p.mustCall("GET", "/api/v1/hooks/sources/github", nil, &kept); kept.Rate != 7 {
		p.t.Errorf("the form undid somebody else's rate: it is %v", kept.Rate)
	}
	p.click("[data-testid=hook-source-pause]")
	p.wait("[data-testid=hook-source-off]", "404")
	p.inspectBoth("sources-off")
	if out := p.shell(*p.lines); !strings.Contains(out, " 404 ") {
		p.t.Errorf("a source that is switched off: %s", out)
	}
	p.click("[data-testid=hook-source-on]")
	heard := p.hears("github/pushes")
	if out := p.shell(*p.lines); !strings.Contains(out, " 202 ") {
		p.t.Errorf("switched on again, with the old secret in its last day: %s", out)
	}
	if got := heard(); !strings.Contains(got, "Oil the hinges") {
		p.t.Errorf("heard %s", got)
	}
	p.click("[data-testid=hook-remove]")
	p.wait("[data-testid=confirm]", "Remove")
	p.inspectBoth("sources-remove")
	p.click("[data-testid=confirm]")
	p.becomes("document.querySelectorAll('[data-testid=hook-source]').length", "9")
	if out := p.shell(*p.lines); !strings.Contains(out, " 404 ") {
		p.t.Errorf("a source that was removed: %s", out)
	}
}
