package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// Enrolment is what it takes to make this machine a device.
type Enrolment struct {
	Hub     string   // URL
	HubKey  string   // fingerprint of its tunnel key, or "" to take the key that it shows
	Code    string   // install code
	Short   bool     // the code came inside the script, so it was in a URL
	Allow   []string // patterns for Policy.Targets
	Dial    string   // as in Config
	Proxy   string
	NoProxy string
	CAFile  string
	Path    string // where the program will lie, if not where it runs from
}

// Enroll registers the machine and writes its settings. Nothing is written but its keys before the hub's answer proved
// genuine, and where that is a no, or proves to be another's, they are taken back. Run again after a lost answer it sends
// the same key, and the hub repeats the answer.
func Enroll(ctx context.Context, p Paths, e Enrolment) (Config, wire.Enrolled, error) {
	if err := e.check(p); err != nil {
		return Config{}, wire.Enrolled{}, err
	}
	if err := makeDir(p); err != nil {
		return Config{}, wire.Enrolled{}, err
	}
	fresh := p.missingKeys()
	key, err := ensureKey(p.Key())
	if err != nil {
		return Config{}, wire.Enrolled{}, err
	}
	enrolled, err := e.ask(ctx, p, key.Public().(ed25519.PublicKey))
	if err != nil {
		if code := wire.CodeOf(err); code != wire.Offline && code != wire.Internal {
			p.remove(fresh) // leave the machine as it was
		}
		return Config{}, wire.Enrolled{}, err
	}
	config, err := e.config(p, enrolled)
	if err != nil {
		return Config{}, wire.Enrolled{}, err
	}
	return config, enrolled, errors.Join(config.save(p.Config()), writeTrusted(p, config, enrolled.UserCA))
}

// check refuses what cannot work before anything is written or sent.
func (e Enrolment) check(p Paths) error {
	if _, err := hubURL(e.Hub); err != nil {
		return err
	}
	if e.Code == "" {
		return wire.Errorf(wire.Invalid, "There is no install code. The hub's page \"Add device\" makes one; it goes to stdin with --code-stdin.")
	}
	if e.HubKey != "" && (!strings.HasPrefix(e.HubKey, "SHA256:") || len(e.HubKey) != len("SHA256:")+43) {
		return wire.Errorf(wire.Invalid, "ADIT_HUB_KEY %q is no fingerprint; it begins with SHA256: and has 43 more characters.", e.HubKey)
	}
	old, err := LoadConfig(p.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !sameHub(old, e) {
		return wire.Errorf(wire.Conflict, "This machine already is %s of %s. `adit agent uninstall` takes it out.", old.Name, old.Hub)
	}
	return err
}

// sameHub tells whether an existing enrolment is with the hub that e names: by its key where that is known, since a
// hub may have several URLs.
func sameHub(old Config, e Enrolment) bool {
	if e.HubKey == "" {
		return strings.TrimRight(old.Hub, "/") == strings.TrimRight(e.Hub, "/")
	}
	return slices.ContainsFunc(old.HubKeys, func(k string) bool {
		key, err := wire.DecodeKey(k)
		return err == nil && wire.Fingerprint(key) == e.HubKey
	})
}

// ask sends the key to the hub, and gives its answer where that proves genuine.
func (e Enrolment) ask(ctx context.Context, p Paths, key ed25519.PublicKey) (wire.Enrolled, error) {
	result, err := e.post(ctx, p, key)
	if err != nil {
		return wire.Enrolled{}, err
	}
	return e.verify(key, result)
}

func (e Enrolment) post(ctx context.Context, p Paths, key ed25519.PublicKey) (*api.EnrollResult, error) {
	config := Config{Hub: e.Hub, Dial: e.Dial, Proxy: e.Proxy, NoProxy: e.NoProxy, CAFile: e.CAFile, Policy: DefaultPolicy().Allow(e.Allow), Services: defaultServices()}
	s := takeSurvey(ctx)
	hostKeys, err := sshHostKeys(ctx, p, config, s)
	if err != nil {
		return nil, err
	}
	facts := collectFacts(ctx, p, config, s)
	if e.Path != "" {
		facts.AgentPath = &e.Path
	}
	hostname := ""
	if facts.Hostname != nil {
		hostname = *facts.Hostname
	}
	return postEnroll(ctx, p, config, api.EnrollRequest{
		Code: e.Code, PublicKey: wire.EncodeKey(key), Hostname: hostname, Facts: facts,
		SSHHostKeys: hostKeys, Via: new(api.EnrollRequestViaAgent), Short: new(e.Short),
	})
}

// problemError is the Error that a hub's reply stands for. A reply that is no problem document came from something
// else: a captive portal, a proxy, another program on that port.
func problemError(status int, problem *api.Problem) error {
	if problem == nil {
		return wire.Errorf(wire.Offline,
			"Something that is not a hub answered (HTTP status %d): a captive portal or a proxy may stand in between.", status)
	}
	detail := problem.Title
	if problem.Detail != nil {
		detail = *problem.Detail
	}
	return wire.Errorf(wire.Code(problem.Code), "%s", wire.Printable(detail, 500))
}

// verify checks that the answer comes from the hub whose key was asked for, and is about this key.
func (e Enrolment) verify(key ed25519.PublicKey, r *api.EnrollResult) (wire.Enrolled, error) {
	enrolled := wire.Enrolled{
		PublicKey: key, DeviceID: r.DeviceID, Name: r.Name, Status: string(r.Status), HubName: r.HubName,
		HubURLs: r.HubUrls, HubKeys: r.HubKeys, UserCA: r.UserCa, Allow: r.Allow,
	}
	if len(r.HubKeys) == 0 {
		return enrolled, wire.Errorf(wire.Internal, "The hub's answer has no key. The hub may be newer or older than this agent.")
	}
	hubKey, err := wire.DecodeKey(r.HubKeys[0])
	if err != nil {
		return enrolled, err
	}
	if shown := wire.Fingerprint(hubKey); e.HubKey != "" && shown != e.HubKey {
		return enrolled, wire.Errorf(wire.Unauthenticated,
			"This is not the hub of the install line: its key is %s, the line says %s. "+
				"Something stands in between, or the line is from another hub. Nothing was changed here.", shown, e.HubKey)
	}
	signature, err := base64.RawURLEncoding.DecodeString(r.Signature)
	if err != nil || !ed25519.Verify(hubKey, enrolled.Transcript(), signature) {
		return enrolled, wire.Errorf(wire.Unauthenticated,
			"The hub's answer is not signed by its key: something between here and the hub changed it. Nothing was changed here.")
	}
	if !wire.ValidDeviceName(r.Name) || !strings.HasPrefix(r.DeviceID, "dev_") || strings.ContainsAny(r.DeviceID, " /\n\t") || strings.Contains(r.UserCa, "\n") {
		return enrolled, wire.Errorf(wire.Internal, "The hub's answer makes no sense. The hub may be newer or older than this agent.")
	}
	return enrolled, nil
}

// config is the new agent.toml. A policy that is there already belongs to the device's owner and stays.
func (e Enrolment) config(p Paths, enrolled wire.Enrolled) (Config, error) {
	allowed, err := neighbours(enrolled.Allow)
	if err != nil {
		return Config{}, err
	}
	c, err := LoadConfig(p.Config())
	if err != nil {
		c = Config{Policy: DefaultPolicy(), Services: defaultServices()}
	}
	c.Hub, c.HubName, c.HubKeys = e.url(enrolled.HubURLs), wire.Printable(enrolled.HubName, 60), enrolled.HubKeys
	c.Device, c.Name = enrolled.DeviceID, enrolled.Name
	c.Dial, c.Proxy, c.NoProxy, c.CAFile = e.Dial, e.Proxy, e.NoProxy, e.CAFile
	c.Policy = c.Policy.Allow(e.Allow).Allow(allowed)
	return c, c.check()
}

// url is the URL that was typed where the hub answers to it, else the hub's first: carriers sign the host dialled.
func (e Enrolment) url(known []string) string {
	typed := strings.TrimRight(e.Hub, "/")
	for _, u := range known {
		if strings.EqualFold(strings.TrimRight(u, "/"), typed) {
			return typed
		}
	}
	if len(known) == 0 {
		return typed
	}
	return strings.TrimRight(known[0], "/")
}

// writeTrusted writes what sshd and `adit agent principals` read.
func writeTrusted(p Paths, c Config, userCA string) error {
	return errors.Join(
		writeFile(p.UserCA(), []byte(userCA+"\n"), 0o644),
		writePrincipals(p, c),
	)
}

const enrollUsage = `Usage: adit agent enroll --hub URL --code-stdin [options]

Makes this machine a device of the hub at URL. The install code comes on stdin, so that it stands in no process list.

  --hub URL          the hub, as https://hub.example.com
  --code-stdin       read the install code from stdin
  --hub-key SHA256:… the hub's key as the install line names it (or ADIT_HUB_KEY); the hub must prove it
  --allow LIST       neighbours on the LAN that people may reach through this device, HOST:PORT by commas
                     (or ADIT_ALLOW)
  --dial HOST:PORT   connect there instead of where the URL's name leads
  --ca-file FILE     trust these roots too (PEM), for networks that inspect TLS (or ADIT_CA_FILE)
  --short            the code was in a URL: ask the hub for a person's approval
  --installed PATH   tell the hub that the program will lie there (the install script moves it afterwards)
  --dir DIR          keep the agent's files there instead of /etc/adit or ~/.config/adit

HTTPS_PROXY and NO_PROXY are honoured and remembered for the service.
After it: adit agent install-service
`

func enrollCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	_ = os.Unsetenv("ADIT_CODE") // the install line's; programs that this one starts must not inherit it
	var e Enrolment
	flags := command.NewFlags("adit agent enroll", enrollUsage)
	flags.StringVar(&e.Hub, "hub", "", "")
	codeStdin := flags.Bool("code-stdin", false, "")
	flags.StringVar(&e.HubKey, "hub-key", environ("ADIT_HUB_KEY"), "")
	allow := flags.String("allow", environ("ADIT_ALLOW"), "")
	flags.StringVar(&e.Dial, "dial", "", "")
	flags.StringVar(&e.CAFile, "ca-file", environ("ADIT_CA_FILE"), "")
	flags.BoolVar(&e.Short, "short", false, "")
	flags.StringVar(&e.Path, "installed", "", "")
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	if e.Hub == "" || !*codeStdin {
		return command.Usagef("enroll needs --hub URL and --code-stdin. The hub's page \"Add device\" shows the whole line.")
	}
	var err error
	if e.Allow, err = allowTargets(*allow); err != nil {
		return err
	}
	if e.Code, err = readCode(stdio.In); err != nil {
		return err
	}
	e.Proxy, e.NoProxy = proxyEnvironment()
	p := PathsIn(*dir)
	config, enrolled, err := Enroll(ctx, p, e)
	if err != nil {
		return err
	}
	fmt.Fprint(stdio.Err, enrolledText(config, enrolled))
	return nil
}

func enrolledText(c Config, e wire.Enrolled) string {
	return registeredText(c, e) + neighboursText(c.Policy)
}

// neighboursText names what people may reach beyond this machine, by whatever said so: nothing opens the LAN silently.
func neighboursText(p Policy) string {
	var addresses []string
	for _, target := range p.Targets {
		if address, ok := strings.CutPrefix(target, "tcp:"); ok {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) == 0 {
		return ""
	}
	return fmt.Sprintf("Neighbours that people may reach through this machine: %s\n", strings.Join(addresses, ", "))
}

func registeredText(c Config, e wire.Enrolled) string {
	if e.Status != string(api.DeviceStatusPending) {
		return fmt.Sprintf("Registered as %s at %s.\n", c.Name, c.HubName)
	}
	return fmt.Sprintf(`Registered as %s at %s, waiting for approval.
  Compare this fingerprint with the one on the page, then approve it there:
  %s
`, c.Name, c.HubName, wire.Fingerprint(e.PublicKey))
}
