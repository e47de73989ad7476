package messaging

import (
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// ImportProblem is a line of Mosquitto's files that cannot be taken over.
type ImportProblem struct {
	File    string // PasswordFile or ACLFile
	Line    int    // from 1
	Message string
}

// The files, as problems name them.
const (
	PasswordFile = "password_file"
	ACLFile      = "acl_file"
)

// maxProblems bounds what one import tells of: whoever sent the wrong file learns it from the first lines.
const maxProblems = 200

type problems struct {
	file string
	list []ImportProblem
}

func (p *problems) add(line int, format string, args ...any) {
	if len(p.list) < maxProblems {
		p.list = append(p.list, ImportProblem{File: p.file, Line: line, Message: fmt.Sprintf(format, args...)})
	}
}

// mosquittoUser is a line of a password_file (mosquitto_passwd(1)): USER:HASH.
type mosquittoUser struct {
	line           int
	username, hash string
}

func parsePasswordFile(text string) ([]mosquittoUser, []ImportProblem) {
	var users []mosquittoUser
	bad := problems{file: PasswordFile}
	first := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		n, line := i+1, strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		username, hash, ok := strings.Cut(line, ":")
		username, hash = strings.TrimSpace(username), strings.TrimSpace(hash)
		_, err := parseMosquitto(hash)
		switch {
		case !ok:
			bad.add(n, "This is no line of a password_file, which has USER:HASH.")
		case checkUsername(username) != nil:
			bad.add(n, "The username is empty, longer than %d bytes, or cannot be printed.", maxUsername)
		case first[username] != 0:
			bad.add(n, "The username %s stands in line %d already.", username, first[username])
		case strings.HasPrefix(hash, "$argon2"):
			bad.add(n, "This hash is argon2. Make it again: mosquitto_passwd -H sha512-pbkdf2 FILE %s", username)
		case !strings.HasPrefix(hash, "$"):
			bad.add(n, "This password is not hashed. Hash the file first: mosquitto_passwd -U FILE")
		case err != nil:
			bad.add(n, "This hash cannot be taken over: %v.", err)
		default:
			users = append(users, mosquittoUser{line: n, username: username, hash: hash})
		}
		if first[username] == 0 {
			first[username] = n
		}
	}
	return users, bad.list
}

// mosquittoRule is a line of an acl_file (mosquitto.conf(5)). An empty user is everybody's pattern.
type mosquittoRule struct {
	line         int
	user         string
	access       access.TopicAccess
	topic        string
	userSpecific bool
}

// bridgeState is the pattern of Mosquitto's own example: what it allows, the hub does by itself.
const bridgeState = "$SYS/broker/connection/%c/state"

func parseACLFile(text string) ([]mosquittoRule, []ImportProblem) {
	var rules []mosquittoRule
	bad := problems{file: ACLFile}
	user := ""
	for i, line := range strings.Split(text, "\n") {
		n, line := i+1, strings.TrimSpace(line)
		word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case word == "" || word[0] == '#':
		case rest == "" && (word == "user" || word == "topic" || word == "pattern"):
			bad.add(n, "Something is missing behind %q.", word)
		case word == "user":
			user = rest
		case word == "topic" && user == "":
			bad.add(n, "Topics before the first \"user\" line are for clients without a username, and this hub lets none in. "+
				"Put the line below a user, or remove it.")
		case word == "topic", word == "pattern":
			rule := mosquittoRule{line: n, userSpecific: word == "topic"}
			if rule.userSpecific {
				rule.user = user
			}
			if message := rule.read(rest); message != "" {
				bad.add(n, "%s", message)
			} else if rule.topic != bridgeState {
				rules = append(rules, rule)
			}
		default:
			bad.add(n, "%q begins no line of an acl_file: user, topic and pattern do.", wire.Printable(word, 40))
		}
	}
	return rules, bad.list
}

// read reads what follows "topic" or "pattern": perhaps an access, then the topic, which may hold spaces.
func (r *mosquittoRule) read(rest string) (problem string) {
	r.access, r.topic = access.TopicReadWrite, rest
	if word, topic, more := strings.Cut(rest, " "); more {
		if r.access, r.topic = access.TopicAccess(word), strings.TrimSpace(topic); !r.access.Valid() {
			return fmt.Sprintf("%q is no access: read, write, readwrite or deny. A topic with a space needs one of them before it.", wire.Printable(word, 40))
		}
	}
	if r.topic == bridgeState {
		return ""
	}
	if foreign := r.foreign(); foreign != "" {
		return fmt.Sprintf("This hub would put something else in the place of %s. Rename the topic.", foreign)
	}
	if err := checkRule(r.access, r.topic); err != nil {
		return wire.MessageOf(err)
	}
	return ""
}

// foreign finds a placeholder of this hub where Mosquitto has none.
func (r *mosquittoRule) foreign() string {
	strange := []string{"%n", "%d", "%t"}
	if r.userSpecific {
		strange = append(strange, "%u", "%c")
	}
	for _, s := range strange {
		if strings.Contains(r.topic, s) {
			return s
		}
	}
	return ""
}
