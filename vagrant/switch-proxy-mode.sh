#!/bin/bash
# switch-proxy-mode.sh NODE MODE: has a node of nodelet route Services in another mode, and prints the mode that runs then. Works from
# wherever kubectl does: a privileged pod on the node writes the file that the lab's KUBELET_EXTRA_ARGS name and restarts the daemon.
set -euo pipefail
node=$1 mode=$2
kubectl=${KUBECTL:-kubectl}
image=${IMAGE:-docker.io/library/busybox:1.36}
pod=switch-$node-$mode

case $mode in nftables | iptables | ipvs) ;; *)
  echo "switch-proxy-mode: $mode: want nftables, iptables or ipvs" >&2
  exit 2
  ;;
esac

# On the node itself. A mode runs when its rules are there; the one that was asked for gets half a minute.
script="
printf 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: $mode\n' >/etc/nodelet/kube-proxy.yaml
systemctl restart kubelet
has() {
  case \$1 in
    nftables) nft list tables | grep -q nodelet-proxy ;;
    iptables) iptables-save -t nat | grep -q KUBE-SERVICES && ! has ipvs ;;
    ipvs) ipvsadm -Ln | grep -q ^TCP ;;
  esac 2>/dev/null
}
for i in \$(seq 60); do
  sleep 0.5
  has $mode && break
done
for it in $mode nftables iptables ipvs none; do
  has \$it && break
done
echo \$it"

remove() { $kubectl --namespace kube-system delete pod "$pod" --now --ignore-not-found >/dev/null; }
trap remove EXIT
remove
# The pod outlives the restart of the daemon that runs it.
$kubectl --namespace kube-system apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $pod}
spec:
  nodeName: $node
  hostPID: true
  hostNetwork: true
  restartPolicy: Never
  containers:
    - name: switch
      image: $image
      imagePullPolicy: IfNotPresent
      securityContext: {privileged: true}
      command: [nsenter, -t, '1', -m, -u, -i, -n, --, sh, -c]
      args:
        - |
$(sed 's/^/          /' <<<"$script")
YAML
$kubectl --namespace kube-system wait --for=jsonpath='{.status.phase}'=Succeeded "pod/$pod" --timeout=120s >/dev/null
$kubectl --namespace kube-system logs "$pod"
