package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const sshKeyUsage = `Usage: adit ssh-key [list] [--json]
       adit ssh-key add FILE [--name NAME] [--json]
       adit ssh-key remove ID

The SSH public keys by which you come in with OpenSSH alone, through the hub's SSH gate.

add takes the key in FILE, a .pub file or a line of authorized_keys with its options (from=, permitopen=, no-pty,
expiry-time=, restrict, …), which then limit it; - reads standard input. The hub wants to see that the key is yours:
ssh-keygen signs for it, by ssh-agent or by the private key that lies beside FILE.

  --name NAME   what it is called in the list; its comment otherwise
  --json        print what the hub's API gives

Examples:
  adit ssh-key add ~/.ssh/id_ed25519.pub
  echo "permitopen=\"broker.adit:1883\",no-pty $(cat bot.pub)" | adit ssh-key add -
`

func sshKeyCommand() command.Command {
	return command.Command{Name: "ssh-key", Summary: "Your SSH public keys, for OpenSSH without adit", Usage: sshKeyUsage, Run: runSSHKey}
}

func runSSHKey(ctx context.Context, args []string, stdio command.Stdio) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return listSSHKeys(ctx, args, stdio)
	}
	return command.Dispatch(ctx, "adit ssh-key", sshKeyUsage, []command.Command{
		{Name: "list", Usage: sshKeyUsage, Run: listSSHKeys}, {Name: "add", Usage: sshKeyUsage, Run: addSSHKey},
		{Name: "remove", Usage: sshKeyUsage, Run: removeSSHKey},
	}, args, stdio)
}

func listSSHKeys(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit ssh-key list", sshKeyUsage)
	asJSON := f.Bool("json", false, "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var list []api.SSHKey
	if err := a.call(ctx, http.MethodGet, "ssh-keys", nil, &list); err != nil {
		return err
	}
	return printList(stdio, *asJSON, list, sshKeyRows(list), "You have no SSH keys on the hub. `adit ssh-key add FILE.pub` adds one.")
}

func sshKeyRows(list []api.SSHKey) [][]string {
	rows := [][]string{{"ID", "NAME", "FINGERPRINT", "USED", "OPTIONS"}}
	for _, k := range list {
		used := "never"
		if k.LastUsedAt != nil {
			used = k.LastUsedAt.Local().Format(time.DateOnly)
		}
		rows = append(rows, []string{k.ID, k.Name, k.Fingerprint, used, k.Options})
	}
	return rows
}

func addSSHKey(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit ssh-key add", sshKeyUsage)
	name, asJSON := f.String("name", "", ""), f.Bool("json", false, "")
	if err := parse(f, args, 1, 1, stdio); err != nil {
		return err
	}
	k, err := readSSHKey(f.Arg(0), stdio.In)
	if err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var gate api.SSHGate
	if err := a.call(ctx, http.MethodGet, "ssh-gate", nil, &gate); err != nil {
		return err
	}
	signature, err := k.sign(ctx, gate.Namespace, gate.Challenge, stdio.Err)
	if err != nil {
		return err
	}
	var added api.SSHKey
	err = a.call(ctx, http.MethodPost, "ssh-keys", api.SSHKeyRequest{Key: k.line, Name: set(*name), Signature: signature}, &added)
	switch {
	case err != nil:
		return err
	case *asJSON:
		return writeJSON(stdio.Out, added)
	}
	fmt.Fprintln(stdio.Out, wire.Printable(added.Fingerprint, 100))
	fmt.Fprintf(stdio.Err, "Added. At the hub's SSH gate your name is %s. A device's page shows what to put into ~/.ssh/config; the gate's host key is %s.\n",
		wire.Printable(gate.Handle, 64), wire.Printable(gate.Fingerprint, 100))
	if added.ExpiresAt != nil {
		fmt.Fprintf(stdio.Err, "It works until %s. A key that is added by a token lives no longer than the token; one that is added on the page stays.\n",
			added.ExpiresAt.Local().Format("2006-01-02 15:04"))
	}
	return nil
}

func removeSSHKey(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit ssh-key remove", sshKeyUsage)
	if err := parse(f, args, 1, 1, stdio); err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	return a.call(ctx, http.MethodDelete, "ssh-keys/"+url.PathEscape(f.Arg(0)), nil, nil)
}

// sshKey is a public key as it lies on this machine.
type sshKey struct {
	line    string // with its options
	public  ssh.PublicKey
	private string // the file beside it; empty where there is none
}

// readSSHKey reads the one key in a file; - is standard input. It fails with Invalid.
func readSSHKey(file string, stdin io.Reader) (k sshKey, err error) {
	var data []byte
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(stdin, 64<<10))
	} else {
		if _, missing := os.Stat(file + ".pub"); missing == nil {
			file += ".pub"
		}
		data, err = os.ReadFile(file)
		if private, ok := strings.CutSuffix(file, ".pub"); ok && fileExists(private) {
			k.private = private
		}
	}
	if err != nil {
		return k, wire.Wrap(err, wire.Invalid, "The key cannot be read")
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if k.line != "" {
			return k, wire.Errorf(wire.Invalid, "%s holds several lines. Give the one that you mean: grep … | adit ssh-key add -", file)
		}
		if k.public, _, _, _, err = ssh.ParseAuthorizedKey([]byte(line)); err != nil {
			return k, wire.Errorf(wire.Invalid, "%s holds no public key. Name a .pub file; for a private key, ssh-keygen -y prints its public half.", file)
		}
		k.line = line
	}
	if k.line == "" {
		return k, wire.Errorf(wire.Invalid, "%s holds no public key.", file)
	}
	return k, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// keyNamespace is the only one in which a hub may have something signed: who signs for another one, as git's, signs for
// somebody else.
const keyNamespace = "adit-ssh-key"

// sign has OpenSSH's ssh-keygen sign: it asks ssh-agent first, then the private key, for its passphrase and a security
// key for a touch. A key alone, without its options, is what it reads.
func (k sshKey) sign(ctx context.Context, namespace, text string, says io.Writer) (string, error) {
	if namespace != keyNamespace {
		return "", wire.Errorf(wire.Forbidden, "The hub wants a signature for %q, which adit does not give.", namespace)
	}
	file := k.private
	if file == "" {
		public, err := os.CreateTemp("", "adit-key-*.pub")
		if err != nil {
			return "", fmt.Errorf("ssh key: %w", err)
		}
		file = public.Name()
		defer os.Remove(file)
		_, err = public.Write(ssh.MarshalAuthorizedKey(k.public))
		if err = errors.Join(err, public.Close()); err != nil {
			return "", fmt.Errorf("ssh key: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, "ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", file)
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), says
	signature, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", wire.Wrap(err, wire.Invalid, "OpenSSH's ssh-keygen is not installed here")
	}
	if err != nil {
		return "", wire.Wrap(err, wire.Invalid, "ssh-keygen (OpenSSH 8.1 or newer) could not sign with %s. "+
			"Load the private key into ssh-agent with ssh-add, or name the .pub file beside it", ssh.FingerprintSHA256(k.public))
	}
	return string(signature), nil
}
