# The checkout's own words: versions.env, deploy/releases.yaml and deploy/values. Nothing is defined here.

terraform {
  required_version = ">= 1.9"
}

variable "flavour" {
  type        = string
  description = "Who made the cluster: deploy/values/NAME-FLAVOUR.yaml adds to deploy/values/NAME.yaml."
}

locals {
  root  = abspath("${path.module}/../../..")
  lines = [for line in split("\n", file("${local.root}/versions.env")) : line if length(regexall("^[A-Z]", line)) > 0]
  pins  = { for line in local.lines : split("=", line)[0] => join("=", slice(split("=", line), 1, length(split("=", line)))) }

  releases = {
    for name, release in yamldecode(file("${local.root}/deploy/releases.yaml")) : name => {
      chart      = contains(keys(release), "repository") ? release.chart : "${local.root}/${release.chart}"
      repository = try(release.repository, null)
      version    = try("${release.prefix}${local.pins[release.pin]}", null)
      namespace  = release.namespace
      values = [
        for path in ["${local.root}/deploy/values/${name}.yaml", "${local.root}/deploy/values/${name}-${var.flavour}.yaml"] :
        file(path) if fileexists(path)
      ]
    }
  }
}

output "pins" {
  description = "Every version by its name in versions.env."
  value       = local.pins
}

output "releases" {
  description = "Each chart by its name: chart, repository, version, namespace and values, as helm_release takes them."
  value       = local.releases
}

output "root" {
  description = "The checkout."
  value       = local.root
}

output "node_image" {
  description = "The image that a kind node runs, by digest."
  value       = "kindest/node:v${local.pins.KIND_NODE_VERSION}@${local.pins.KIND_NODE_DIGEST}"
}
