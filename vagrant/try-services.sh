#!/bin/bash
# Walks through what Services do, on a cluster with at least two nodes of nodelet: for each step it prints what should happen and what
# did, and ends with 1 when they differ. Run where kubectl reaches the apiserver and curl the nodes: on the lab's control plane.
# Everything it makes is in a namespace of its own, which it removes at the end.
#
#   KUBECTL       the kubectl to use, with flags              (kubectl)
#   IMAGE         an image with busybox's sh, httpd and wget  (docker.io/library/busybox:1.36)
#   MODES         the proxy modes to switch to, in order      (iptables ipvs nftables)
#   SWITCH        a command that is given NODE and MODE, switches, and prints the mode that runs then (vagrant/switch-proxy-mode.sh)
#   KEEP=1        leaves the namespace
set -euo pipefail

kubectl=${KUBECTL:-kubectl}
image=${IMAGE:-docker.io/library/busybox:1.36}
modes=${MODES-iptables ipvs nftables}
switch=${SWITCH:-$(dirname "$(readlink -f "$0")")/switch-proxy-mode.sh}
namespace=try-services
failures=0

# shellcheck disable=SC2086
k() { $kubectl --namespace "$namespace" "$@"; }

step() { printf '\n%s\n  should: %s\n' "$1" "$2"; }
did() { printf '  did:    %s\n' "$1"; }
# verdict EXPECTED FOUND TEXT: TEXT tells a person what FOUND means
verdict() {
  did "$3"
  if [ "$1" = "$2" ]; then
    printf '  ok\n'
  else
    printf '  NOT AS IT SHOULD BE (want: %s)\n' "$1"
    failures=$((failures + 1))
  fi
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds
wait_for() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $limit ]; then
      printf 'try-services: waited in vain for %s\n' "$what" >&2
      k get pods,services,endpointslices -o wide >&2 || true
      exit 1
    fi
    sleep 0.2
  done
}

cleanup() {
  [ -n "${KEEP:-}" ] || $kubectl delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null 2>&1 || true
}
trap cleanup EXIT

# --- what there is -------------------------------------------------------------------------------------------------------------------

# Nodes that take pods.
mapfile -t nodes < <($kubectl get nodes -l '!node-role.kubernetes.io/control-plane' -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}')
[ "${#nodes[@]}" -ge 2 ] || {
  echo "try-services: want two nodes beside the control plane, found: ${nodes[*]:-none}" >&2
  exit 2
}
first=${nodes[0]} second=${nodes[1]}
address_of() { $kubectl get node "$1" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}' | cut -d' ' -f1; }
first_address=$(address_of "$first")
second_address=$(address_of "$second")

# pod NAME NODE LABELS: a web server that answers with its name and the address it sees the request come from
web_pod() {
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: web, node: $3}}
spec:
  nodeName: $2
  terminationGracePeriodSeconds: 5
  containers:
    - name: web
      image: $image
      imagePullPolicy: IfNotPresent
      command: [sh, -c]
      args:
        - |
          mkdir -p /www/cgi-bin && touch /www/ready
          printf '#!/bin/sh\nprintf "Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n"\necho "$1 \$REMOTE_ADDR" | sed "s/\\\\[//; s/\\\\]//; s/::ffff://"\n' >/www/cgi-bin/index.cgi
          chmod +x /www/cgi-bin/index.cgi
          httpd -f -h /www & trap 'kill %1' TERM; wait
      ports: [{name: http, containerPort: 80}]
      readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5}
      lifecycle: {preStop: {exec: {command: [sleep, '2']}}}
---
YAML
}

service() { # service NAME TYPE SELECTOR [MORE FIELDS]
  cat <<YAML
apiVersion: v1
kind: Service
metadata: {name: $1}
spec:
  type: $2
  selector: {$3}
  ports: [{port: 80, targetPort: http}]
${4:-}
---
YAML
}

$kubectl delete namespace "$namespace" --ignore-not-found >/dev/null
$kubectl create namespace "$namespace" >/dev/null
wait_for 30 'the account of pods' k get serviceaccount default
{
  web_pod web-a "$first" first
  web_pod web-b "$first" first
  web_pod web-c "$second" second
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: $first
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: $image, imagePullPolicy: IfNotPresent, command: [sleep, '100000']}]
---
YAML
  service web ClusterIP 'app: web'
  service port NodePort 'app: web'
  service sticky ClusterIP 'app: web' '  sessionAffinity: ClientIP'
  service near ClusterIP 'app: web' '  internalTrafficPolicy: Local'
  service local NodePort 'app: web, node: second' '  externalTrafficPolicy: Local'
} | k apply -f - >/dev/null
k wait --for=condition=Ready pod --all --timeout=180s >/dev/null || {
  k get pods -o wide >&2
  exit 1
}
printf 'Pods web-a and web-b run on %s (%s), web-c on %s (%s), the client on %s.\n' \
  "$first" "$first_address" "$second" "$second_address" "$first"

ip_of() { k get service "$1" -o jsonpath='{.spec.clusterIP}'; }
port_of() { k get service "$1" -o jsonpath='{.spec.ports[0].nodePort}'; }

# ask_inside URL COUNT: answers to the client pod, a line each; `none` for what is not answered
ask_inside() { k exec client -- sh -c "for i in \$(seq $2); do timeout 5 wget -qO- $1 || echo none; done"; }
# ask_outside URL COUNT: the same for this machine
ask_outside() {
  local _
  for _ in $(seq "$2"); do curl --silent --fail --noproxy '*' --max-time 3 "$1" || echo none; done
}
# who: the names in answers, each once, in one line
who() { awk '{print $1}' | sort -u | paste -sd' '; }
tally() { awk '{n[$1]++} END {for (name in n) printf "%s %dx  ", name, n[name]}'; }

all='web-a web-b web-c'

# asked POD, not_asked POD: whether it is among those that answer at $url
asked() { grep -q "^$1 " <<<"$(ask_inside "$url" 15)"; }
not_asked() { ! asked "$1"; }

# --- the walk ------------------------------------------------------------------------------------------------------------------------

url=http://$(ip_of web)/
# A pod that is Ready is an endpoint a moment later.
for pod in $all; do wait_for 30 "the first answer of $pod" asked "$pod"; done

step "ClusterIP: 30 requests from the client to $url" "each of the three pods answers some, on whichever node it is"
said=$(ask_inside "$url" 30)
verdict "$all" "$(who <<<"$said")" "$(tally <<<"$said")"

for node in "$first" "$second"; do
  url=http://$(address_of "$node"):$(port_of port)/
  step "NodePort: 30 requests from this machine to $node, $url" "pods of both nodes answer"
  said=$(ask_outside "$url" 30)
  verdict "$all" "$(who <<<"$said")" "$(tally <<<"$said")"
done

url=http://$(ip_of sticky)/
step "Session affinity ClientIP: 12 requests from the client to $url" "one and the same pod answers them all"
said=$(ask_inside "$url" 12)
verdict 1 "$(grep -v none <<<"$said" | awk '{print $1}' | sort -u | wc -l)" "$(tally <<<"$said")"

url=http://$(ip_of near)/
step "internalTrafficPolicy Local: 20 requests from the client on $first to $url" "only the pods on $first answer"
said=$(ask_inside "$url" 20)
verdict 'web-a web-b' "$(who <<<"$said")" "$(tally <<<"$said")"

source=$(ip -4 route get "$second_address" | sed -n 's/.* src \([0-9.]*\).*/\1/p')
url=http://$second_address:$(port_of local)/
step "externalTrafficPolicy Local: requests from this machine ($source) to $second, where web-c is" "web-c answers and sees $source itself"
said=$(ask_outside "$url" 6)
verdict "web-c $source" "$(sort -u <<<"$said")" "$(sort -u <<<"$said" | paste -sd,)"

url=http://$first_address:$(port_of local)/
step "externalTrafficPolicy Local: the same to $first, where none of its pods is" "nobody answers: the load balancer in front is to choose $second"
said=$(ask_outside "$url" 1)
verdict none "$(who <<<"$said")" "$(tally <<<"$said")"

url=http://$(ip_of web)/
step 'A readiness probe that fails: web-a says that it is not ready' 'it is asked no more, and runs on; when it is ready again it is asked again'
k exec web-a -- rm /www/ready
wait_for 30 'web-a to be not ready' sh -c "$kubectl -n $namespace get pod web-a -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].status}' | grep -q False"
wait_for 15 'web-a to be asked no more' not_asked web-a
without=$(ask_inside "$url" 20 | who)
k exec web-a -- touch /www/ready
wait_for 30 'web-a to be asked again' asked web-a
restarts=$(k get pod web-a -o jsonpath='{.status.containerStatuses[0].restartCount}')
verdict 'web-b web-c, 0 restarts' "$without, $restarts restarts" "while it was not ready: $without; then web-a again; restarts: $restarts"

step 'A pod that goes: web-b is deleted under load' 'every request is answered, at the end by the two that are left'
answered=$(mktemp)
ask_inside "$url" 200 >"$answered" &
load=$!
k delete pod web-b >/dev/null
wait $load
last=$(ask_inside "$url" 20 | who)
lost=$(grep -c none "$answered" || true)
rm -f "$answered"
verdict '0 of 200 lost, then web-a web-c' "$lost of 200 lost, then $last" "$lost of 200 requests lost; then $last answer"

url=http://$(ip_of web)/
for mode in $modes; do
  step "A switch of the proxy mode on $first: $mode" 'Services answer as before; a mode that this version or this kernel lacks is answered by another, and said so'
  runs=$($switch "$first" "$mode")
  wait_for 60 "an answer in mode $mode" asked web-a
  inside=$(ask_inside "$url" 20 | who)
  outside=$(ask_outside "http://$first_address:$(port_of port)/" 20 | who)
  note=$([ "$runs" = "$mode" ] && echo "$mode runs" || echo "asked for $mode, $runs runs")
  verdict 'web-a web-c and web-a web-c' "$inside and $outside" "$note; ClusterIP: $inside; NodePort: $outside"
done

printf '\n'
[ "$failures" = 0 ] && echo 'All Services did what they should.' || echo "$failures steps did not do what they should."
exit $((failures > 0))
