package wire

import "encoding/json"

// MethodFacts is the call by which an agent tells its hub about the device: after its first link, whenever something
// changed, and every ten minutes. Its params are a FactsReport; its result is {}.
const MethodFacts = "facts"

// MethodMQTT is the call by which the hub asks an agent how its MQTT listeners and bridges fare. It has no params; its result
// is the schema AgentMQTT of the API. Agents before 0.3 do not know it.
const MethodMQTT = "mqtt"

// FactsReport is what the agent says. Facts is the schema Facts of the API; SSHHostKeys are authorized_keys lines
// without a comment, as in the enrolment. A key that is not pinned yet waits for a person.
type FactsReport struct {
	Facts       json.RawMessage `json:"facts"`
	SSHHostKeys []string        `json:"ssh_host_keys"`
}
