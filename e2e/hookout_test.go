//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const hostileAddress = "127.0.0.1:9200"

// hostileReceiver answers in every way but the right one.
func hostileReceiver(w http.ResponseWriter, q *http.Request) {
	flush := http.NewResponseController(w)
	switch q.URL.Path {
	case "/endless", "/failing":
		if q.URL.Path == "/failing" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.Copy(w, zeros{}) // until the hub has enough
	case "/gigabyte":
		w.Header().Set("Content-Length", fmt.Sprint(1<<30))
		_, _ = io.CopyN(w, zeros{}, 1<<30)
	case "/drip":
		for {
			if _, err := io.WriteString(w, "."); err != nil || flush.Flush() != nil {
				return
			}
			select {
			case <-q.Context().Done():
				return
			case <-time.After(200 * time.Millisecond): // that is how slow it is
			}
		}
	case "/header":
		conn, to, err := flush.Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(to, "HTTP/1.1 200 OK\r\n")
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(to, "X-%d: %s\r\n", n, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	case "/closes":
		panic(http.ErrAbortHandler)
	case "/half":
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}
}

// Receivers that never end, are slow, send a gigabyte, or close before they have answered: each is an attempt of what it
// was, and costs the hub no memory and nobody else time.
func TestHookHostileReceivers(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback")
	r.serveHTTP(hostileAddress, http.HandlerFunc(hostileReceiver))
	good := &receiver{status: http.StatusOK}
	r.serveHTTP(goReceiver, good)
	want := map[string]func(hookAttempt) bool{
		"endless":  func(a hookAttempt) bool { return a.Status == 200 && a.Cut },
		"gigabyte": func(a hookAttempt) bool { return a.Status == 200 && a.Cut },
		"drip":     func(a hookAttempt) bool { return a.Status == 200 && a.Error != "" && a.Cut },
		"half":     func(a hookAttempt) bool { return a.Status == 200 && string(a.Body) == "half" && a.Error != "" },
		"failing":  func(a hookAttempt) bool { return a.Status == 500 && a.Cut },
		"header":   func(a hookAttempt) bool { return a.Status == 0 && a.Error != "" },
		"closes":   func(a hookAttempt) bool { return a.Status == 0 && a.Error != "" },
	}
	r.newEndpoint("good", "http://"+goReceiver+"/", ask{"events": []string{"device.online"}})
	r.tested("good")
	for name := range want {
		timeout := 30 // none of them should need it
		if name == "drip" {
			timeout = 3
		}
		r.newEndpoint(name, "http://"+hostileAddress+"/"+name, ask{"events": []string{"device.online"}, "timeout_seconds": timeout})
	}
	memory := r.watchMemory()
	const each = 5
	for range each {
		for name := range want {
			r.mustCall("POST", "/api/v1/hooks/endpoints/"+name+"/test", nil, nil)
		}
	}
	if a := r.tested("good"); a.Status != http.StatusOK || a.TookMS > 5000 {
		t.Errorf("beside them a good receiver has %+v", a)
	}
	for name, right := range want {
		all := r.deliveries(name)
		if len(all) != each {
			t.Errorf("%s: %d deliveries", name, len(all))
		}
		for _, d := range all {
			if a := r.attempt(d.Delivery.ID, 1); !right(a) || len(a.Body) > 16<<10 || a.TookMS > 25_000 {
				t.Errorf("%s: %d after %d ms, %d bytes, cut is %v, %q", name, a.Status, a.TookMS, len(a.Body), a.Cut, a.Error)
			}
		}
	}
	memory.flat("hostile receivers")
}

// names is a DNS server of names that lead where nobody should be sent.
type names struct {
	mu      sync.Mutex
	byName  map[string][]netip.Addr
	rebinds map[string][]netip.Addr // what is said from the second question for an address on
	asked   map[string]int
}

// serve answers until the test ends.
func (n *names) serve(r *rig, address string) {
	r.t.Helper()
	var conn net.PacketConn
	var err error
	if inside := r.host.inside(func() { conn, err = (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", address) }); inside != nil || err != nil {
		r.t.Fatal(inside, err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		question := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			if answer := n.answer(question[:size]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	r.t.Cleanup(func() { conn.Close(); <-served })
}

// answer is RFC 1035's, with a time to live of 0.
func (n *names) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.Header.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
	for _, addr := range n.lookup(strings.TrimSuffix(q.Name.String(), "."), q.Type) {
		var body dnsmessage.ResourceBody = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		if head.Type = dnsmessage.TypeAAAA; addr.Is4() {
			head.Type, body = dnsmessage.TypeA, &dnsmessage.AResource{A: addr.As4()}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: body})
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

func (n *names) lookup(name string, kind dnsmessage.Type) (found []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.byName[name]
	if kind == dnsmessage.TypeA {
		if n.asked[name]++; n.asked[name] > 1 && n.rebinds[name] != nil {
			all = n.rebinds[name]
		}
	}
	for _, addr := range all {
		if addr.Is4() == (kind == dnsmessage.TypeA) {
			found = append(found, addr)
		}
	}
	return found
}

// Where the hub must not send: what names of one's own lead to, at once or the second time, whatever the address looks like.
// All of these addresses are this machine's, somebody listens there, and the hub may send to a neighbouring one.
func TestHookForbiddenAddresses(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=10.77.0.1")
	n := &names{byName: map[string][]netip.Addr{}, rebinds: map[string][]netip.Addr{}, asked: map[string]int{}}
	forbidden := map[string]string{
		"loopback": "127.0.0.1", "any": "0.0.0.0", "six": "::1", "mapped": "::ffff:127.0.0.1", "metadata": "169.254.169.254", "metadata6": "fd00:ec2::254",
		"nat64": "64:ff9b::7f00:1", "nat64-metadata": "64:ff9b::a9fe:a9fe", "six-to-four": "2002:7f00:1::1", "private": "192.168.77.1", "shared": "100.100.100.200",
		"link": "fe80::77", "multicast": "224.0.0.77",
	}
	for _, address := range []string{"169.254.169.254/32", "192.168.77.1/32", "100.100.100.200/32", "fd00:ec2::254/128", "64:ff9b::7f00:1/128", "64:ff9b::a9fe:a9fe/128",
		"2002:7f00:1::1/128"} {
		r.host.sh("ip addr add " + address + " dev lo")
	}
	victim := &receiver{status: http.StatusOK}
	const port = "9300"
	r.serveHTTP("[::]:"+port, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Connection", "close") // the next goes by a connection of its own
		victim.ServeHTTP(w, q)
	}))
	for _, address := range []string{"127.0.0.1", "169.254.169.254", "192.168.77.1", "100.100.100.200", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::1"} {
		conn, err := r.host.dial(t.Context(), "tcp", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatalf("nobody at %s: the test proves nothing: %v", address, err)
		}
		conn.Close()
	}
	for name, address := range forbidden {
		n.byName[name+".adit.test"] = []netip.Addr{netip.MustParseAddr(address)}
	}
	n.byName["rebind.adit.test"] = []netip.Addr{netip.MustParseAddr("10.77.0.1")}
	n.rebinds["rebind.adit.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	n.byName["both.adit.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	n.serve(r, "127.0.0.1:53")
	r.host.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:20\n", 0o644)
	r.stopHub("TERM")
	r.startHub()

	forbidden["both"] = "127.0.0.1"
	for name, address := range forbidden {
		literal := address
		if strings.Contains(literal, ":") {
			literal = "[" + literal + "]"
		}
		err := r.call("POST", "/api/v1/hooks/endpoints", ask{"url": "http://" + literal + ":" + port + "/"}, nil)
		if err == nil || !strings.Contains(err.Error(), "ADIT_WEBHOOK_ALLOW") {
			t.Errorf("an endpoint at %s: %v", literal, err)
		}
		r.newEndpoint(name, "http://"+name+".adit.test:"+port+"/", ask{"events": []string{"device.online"}})
		if a := r.tested(name); a.Status != 0 || !strings.Contains(a.Error, "ADIT_WEBHOOK_ALLOW") {
			t.Errorf("%s, which leads to %s: %+v", name, address, a)
		}
	}
	if came := victim.all(); len(came) > 0 {
		t.Errorf("%d requests came where none should", len(came))
	}
	r.rebinds(n, port, victim)
}

// rebinds sends to a name twice: where it leads to at first is allowed.
func (r *rig) rebinds(n *names, port string, victim *receiver) {
	r.t.Helper()
	r.newEndpoint("rebind", "http://rebind.adit.test:"+port+"/", ask{"events": []string{"device.online"}})
	if a := r.tested("rebind"); a.Status != http.StatusOK || !strings.HasPrefix(a.Address, "10.77.0.1:") {
		r.t.Fatalf("before it rebinds: %+v", a)
	}
	before := len(victim.all())
	if a := r.tested("rebind"); a.Status != 0 || !strings.Contains(a.Error, "127.0.0.1") {
		r.t.Errorf("after it rebinds: %+v", a)
	}
	if len(victim.all()) != before {
		r.t.Error("a name that rebinds led to loopback")
	}
}
