#!/bin/bash
# node.sh APISERVER [flags of kubeadm join]: joins the machine as everybody joins one. May be run again.
set -euo pipefail

if [ ! -e /etc/kubernetes/kubelet.conf ]; then
  kubeadm join "$@"
fi
