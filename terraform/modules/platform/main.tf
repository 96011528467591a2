# Everything in the cluster, chart by chart, in the order of deploy/releases.yaml. Each waits for the one that it needs.

terraform {
  required_version = ">= 1.9"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0, < 4.0"
    }
  }
}

module "pins" {
  source  = "../pins"
  flavour = var.flavour
}

locals {
  releases = module.pins.releases
}

resource "helm_release" "cert_manager" {
  name             = "cert-manager"
  repository       = local.releases["cert-manager"].repository
  chart            = local.releases["cert-manager"].chart
  version          = local.releases["cert-manager"].version
  namespace        = local.releases["cert-manager"].namespace
  create_namespace = true
  values           = local.releases["cert-manager"].values
}

resource "helm_release" "envoy_gateway" {
  name             = "envoy-gateway"
  repository       = local.releases["envoy-gateway"].repository
  chart            = local.releases["envoy-gateway"].chart
  version          = local.releases["envoy-gateway"].version
  namespace        = local.releases["envoy-gateway"].namespace
  create_namespace = true
  values           = local.releases["envoy-gateway"].values
}

resource "helm_release" "gateway" {
  name             = "gateway"
  chart            = local.releases["gateway"].chart
  namespace        = local.releases["gateway"].namespace
  create_namespace = true
  values           = local.releases["gateway"].values

  depends_on = [helm_release.envoy_gateway]
}

resource "helm_release" "kserve_crd" {
  name             = "kserve-crd"
  repository       = local.releases["kserve-crd"].repository
  chart            = local.releases["kserve-crd"].chart
  version          = local.releases["kserve-crd"].version
  namespace        = local.releases["kserve-crd"].namespace
  create_namespace = true
  values           = local.releases["kserve-crd"].values
}

resource "helm_release" "kserve" {
  name             = "kserve"
  repository       = local.releases["kserve"].repository
  chart            = local.releases["kserve"].chart
  version          = local.releases["kserve"].version
  namespace        = local.releases["kserve"].namespace
  create_namespace = true
  values           = local.releases["kserve"].values

  depends_on = [helm_release.cert_manager, helm_release.gateway, helm_release.kserve_crd]
}

resource "helm_release" "argo_workflows" {
  name             = "argo-workflows"
  repository       = local.releases["argo-workflows"].repository
  chart            = local.releases["argo-workflows"].chart
  version          = local.releases["argo-workflows"].version
  namespace        = local.releases["argo-workflows"].namespace
  create_namespace = true
  values           = local.releases["argo-workflows"].values
}

resource "helm_release" "prometheus" {
  name             = "prometheus"
  repository       = local.releases["prometheus"].repository
  chart            = local.releases["prometheus"].chart
  version          = local.releases["prometheus"].version
  namespace        = local.releases["prometheus"].namespace
  create_namespace = true
  values           = local.releases["prometheus"].values
}

resource "helm_release" "perch" {
  name             = "perch"
  chart            = "${module.pins.root}/charts/perch"
  namespace        = var.namespace
  create_namespace = true
  values           = [yamlencode({ global = { imageRegistry = var.image_registry } }), yamlencode(var.perch_values)]

  depends_on = [helm_release.kserve, helm_release.prometheus]
}
