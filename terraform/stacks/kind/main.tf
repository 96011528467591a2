# A kind cluster with Perch in it, for people who live in Terraform. `make cluster-up` makes the same.

terraform {
  required_version = ">= 1.9"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0, < 4.0"
    }
    kind = {
      source  = "tehcyx/kind"
      version = ">= 0.9, < 1.0"
    }
  }
}

provider "kind" {}

provider "helm" {
  kubernetes = module.cluster.access
}

module "cluster" {
  source = "../../modules/cluster-kind"
}

# Builds Perch's images and brings them to the node.
resource "terraform_data" "images" {
  triggers_replace = [module.cluster.name, var.images]

  provisioner "local-exec" {
    working_dir = "${path.module}/../../.."
    command     = "make images && kind load docker-image ${join(" ", var.images)} --name ${module.cluster.name}"
  }
}

module "platform" {
  source  = "../../modules/platform"
  flavour = "kind"

  depends_on = [terraform_data.images]
}
