#!/bin/bash
# control-plane.sh ADDRESS TOKEN: a control plane by kubeadm, whose pods nodelet runs. Without kube-proxy: nodelet routes Services, and
# deploy/rbac.yaml lets nodes see them. May be run again.
set -euo pipefail
address=$1 token=$2
here=$(dirname "$(readlink -f "$0")")
checkout=${CHECKOUT:-/opt/nodelet}
release=$(cat "$here/release")

if [ ! -e /etc/kubernetes/admin.conf ]; then
  config=/etc/nodelet/kubeadm.yaml
  # The token is in it. kubeadm gives an apiserver a minute to come up, which is little for a machine on a loaded laptop.
  install -m 600 /dev/stdin "$config" <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: $token, ttl: 0s}]
localAPIEndpoint: {advertiseAddress: $address}
skipPhases: [addon/kube-proxy]
timeouts: {kubernetesAPICall: 5m, controlPlaneComponentHealthCheck: 10m}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $release
networking: {podSubnet: 10.244.0.0/16}
YAML
  kubeadm init --config "$config"
fi
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl apply -f "$checkout/deploy/rbac.yaml"
for home in /root /home/vagrant; do
  [ -d "$home" ] || continue
  install -d "$home/.kube"
  install -m 600 "$KUBECONFIG" "$home/.kube/config"
  chown -R --reference="$home" "$home/.kube"
done
kubectl wait --for=condition=Ready node --all --timeout=180s
