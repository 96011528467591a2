# A kind cluster as deploy/kind.yaml describes it. Providers reach it by its outputs; no kube context is changed.

terraform {
  required_version = ">= 1.9"
  required_providers {
    kind = {
      source  = "tehcyx/kind"
      version = ">= 0.9, < 1.0"
    }
  }
}

module "pins" {
  source  = "../pins"
  flavour = "kind"
}

locals {
  description = yamldecode(file("${module.pins.root}/deploy/kind.yaml"))
}

resource "kind_cluster" "this" {
  name           = local.description.name
  node_image     = module.pins.node_image
  wait_for_ready = true

  kind_config {
    kind        = local.description.kind
    api_version = local.description.apiVersion

    dynamic "node" {
      for_each = local.description.nodes
      content {
        role = node.value.role

        dynamic "extra_port_mappings" {
          for_each = node.value.extraPortMappings
          content {
            container_port = extra_port_mappings.value.containerPort
            host_port      = extra_port_mappings.value.hostPort
            listen_address = extra_port_mappings.value.listenAddress
            protocol       = extra_port_mappings.value.protocol
          }
        }
      }
    }
  }
}

output "name" {
  description = "Name of the cluster; its kube context would be kind-NAME."
  value       = kind_cluster.this.name
}

output "access" {
  description = "What a provider needs to reach the API server."
  sensitive   = true
  value = {
    host                   = kind_cluster.this.endpoint
    cluster_ca_certificate = kind_cluster.this.cluster_ca_certificate
    client_certificate     = kind_cluster.this.client_certificate
    client_key             = kind_cluster.this.client_key
  }
}
