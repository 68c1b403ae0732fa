#!/bin/bash
# control-plane.sh ADDRESS TOKEN: a control plane by kubeadm, whose pods nodelet runs. Without kube-proxy: nodelet routes Services, and
# deploy/rbac.yaml lets nodes see them. May be run again.
set -euo pipefail
address=$1 token=$2
here=$(dirname "$(readlink -f "$0")")
checkout=${CHECKOUT:-/opt/nodelet}
release=$(cat "$here/release")

if [ ! -e /etc/kubernetes/admin.conf ]; then
  kubeadm init --kubernetes-version "$release" --apiserver-advertise-address "$address" --pod-network-cidr 10.244.0.0/16 \
    --token "$token" --token-ttl 0 --skip-phases addon/kube-proxy
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
