#!/bin/bash
# machine.sh ADDRESS: what every machine of the lab gets before kubeadm: nodelet from its package, with containerd and all that it depends
# on; a host that `nodelet doctor` has nothing against; kubeadm and kubectl of the release that nodelet stands in for. May be run again.
set -euo pipefail
address=$1
here=$(dirname "$(readlink -f "$0")")
checkout=${CHECKOUT:-/opt/nodelet}
release=$(cat "$here/release")
arch=$(dpkg --print-architecture)

# Nodes of a lab talk over the network that ADDRESS is on, not over the one that machines have to the outside.
mkdir -p /etc/nodelet
cat >/etc/default/kubelet <<ENV
KUBELET_EXTRA_ARGS=--node-ip=$address --proxy-config=/etc/nodelet/kube-proxy.yaml
ENV
[ -e /etc/nodelet/kube-proxy.yaml ] || cat >/etc/nodelet/kube-proxy.yaml <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
YAML

if ! command -v kubelet >/dev/null; then
  package=$(ls "$checkout"/dist/nodelet_*_"$arch".deb) || {
    echo "machine.sh: no package in $checkout/dist: run \`npm run build\` before \`vagrant up\`" >&2
    exit 1
  }
  apt-get -q update
  DEBIAN_FRONTEND=noninteractive apt-get -q install -y curl "$package"
fi
# Of a machine that has joined already the doctor would say that a kubelet runs.
[ -e /etc/kubernetes/kubelet.conf ] || nodelet doctor --join --fix

for program in kubeadm kubectl; do
  command -v "$program" >/dev/null && continue
  url=https://dl.k8s.io/release/$release/bin/linux/$arch/$program
  curl --fail --silent --show-error --location --output "/tmp/$program" "$url"
  echo "$(curl --fail --silent --show-error --location "$url.sha256")  /tmp/$program" | sha256sum --check --quiet
  install -m 755 "/tmp/$program" /usr/local/bin/
  rm "/tmp/$program"
done
